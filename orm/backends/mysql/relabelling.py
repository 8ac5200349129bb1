"""ENUMs of MariaDB and MySQL that get other labels in place of some: in two steps.

A row cannot have a new label before the ALTER that adds it, nor the old one after the ALTER that
takes it away. So one adds labels, and another one takes labels away: rows are updated between them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Final

from alembic.operations.ops import AlterColumnOp, MigrateOperation, ModifyTableOps
from sqlalchemy.dialects.mysql import ENUM, dialect

from orm.backends.literals import literals

__all__ = ["in_two_steps", "with_both_labels"]

_ENUM: Final = re.compile(r"enum\(((?:'(?:[^']|'')*',?)*)\)", re.IGNORECASE)
_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")


def in_two_steps(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    """Operations of Alembic, with one more before each that takes labels away and adds others."""
    for operation in operations:
        if not isinstance(operation, ModifyTableOps):
            yield operation
            continue
        for step in zip(*map(_steps, operation.ops), strict=True):
            if ops := [one for one in step if one is not None]:
                yield ModifyTableOps(operation.table_name, ops, schema=operation.schema)


def _steps(
    operation: MigrateOperation,
) -> tuple[MigrateOperation | None, MigrateOperation]:
    """What is done first, and what then."""
    if not isinstance(operation, AlterColumnOp) or operation.modify_type is None:
        return None, operation
    old = operation.existing_type
    if not isinstance(old, ENUM):
        return None, operation
    labels = _both(old.enums, _labels(operation.modify_type.compile(dialect=dialect())))
    if labels is None:
        return None, operation
    first, then = copy(operation), copy(operation)
    first.modify_type = ENUM(*labels, charset=old.charset, collation=old.collation)
    first.modify_name = first.modify_nullable = None
    first.modify_comment = first.modify_server_default = False
    then.existing_type = first.modify_type
    return first, then


def with_both_labels(old: str, new: str) -> str | None:
    """The definition of a column in the first step; None if there is one step only.

    Args:
        old: its definition.
        new: what it is to be.
    """
    labels = _both(_labels(old), _labels(new))
    if labels is None:
        return None
    said = literals(labels).replace(", ", ",")
    return _ENUM.sub(lambda _: f"enum({said})", old, count=1)


def _labels(definition: str) -> list[str]:
    found = _ENUM.match(definition)
    return [one.replace("''", "'") for one in _LABEL.findall(found[1])] if found else []


def _both(old: Sequence[str], new: Sequence[str]) -> list[str] | None:
    """The old labels and those that are new; None unless some go and others come."""
    before, after = set(map(_alike, old)), set(map(_alike, new))
    if not (before - after and after - before and new):
        return None
    return [*old, *(label for label in new if _alike(label) not in before)]


def _alike(label: str) -> str:
    """The same for labels that are one label to some collation."""
    letters = unicodedata.normalize("NFKD", label.rstrip(" "))
    return "".join(one for one in letters if not unicodedata.combining(one)).casefold()
