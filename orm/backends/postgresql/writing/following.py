"""Names of constraints, indexes and sequences that follow others, such as that of their table."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from alembic.operations.ops import MigrateOperation, ModifyTableOps

from orm.backends.postgresql.writing import sequences
from orm.backends.postgresql.writing.names import beside, qualified, quote
from orm.backends.postgresql.writing.statements import Statements
from orm.backends.things import SEQUENCE_NAME, Thing

__all__ = ["Following"]

_NAME: Final = re.compile(r'^(CREATE (?:UNIQUE )?INDEX) (?:"(?:[^"]|"")*"|\S+) ')
"""The beginning of an index's definition, which has the name in it."""


@dataclass(frozen=True)
class Following:
    """What differs between two schemas in its name alone, and need not be made anew.

    Args:
        before: what there is (`Migrations.definitions`).
        new: what there is to be.
    """

    before: Mapping[Thing, str]
    new: Mapping[Thing, str]

    @cached_property
    def names(self) -> list[tuple[Thing, Thing]]:
        """Each constraint and index by its old, and by its new name."""
        gone: dict[tuple[str, str, str], list[Thing]] = {}
        for thing in sorted(self.before.keys() - self.new.keys()):
            gone.setdefault(_what(thing, self.before[thing]), []).append(thing)
        found = []
        for thing in sorted(self.new.keys() - self.before.keys()):
            alike = gone.get(_what(thing, self.new[thing]))
            if thing.kind in ("constraint", "index") and alike:
                found.append((alike.pop(0), thing))
        # One that takes the name of another has to wait for it.
        taken = {old.name for old, _ in found}
        return sorted(found, key=lambda pair: pair[1].name in taken)

    @cached_property
    def old(self) -> dict[Thing, str]:
        """What there is after the statements."""
        now = dict(self.before)
        for old, new in self.names:
            del now[old]
            now[new] = self.new[new]
        return now

    def statements(self) -> Statements:
        """What gives the new names."""
        return Statements([*self._named(), *self._counted()])

    def _named(self) -> Iterator[str]:
        for old, new in self.names:
            if old.kind == "index":
                yield f"ALTER INDEX {beside(old)} RENAME TO {quote(new.name)}"
            else:
                names = f"{quote(old.name)} TO {quote(new.name)}"
                yield f"ALTER TABLE {qualified(old.table)} RENAME CONSTRAINT {names}"

    def _counted(self) -> Iterator[str]:
        for thing, name in sorted(self.new.items()):
            if thing.kind == SEQUENCE_NAME and self.before.get(thing, name) != name:
                yield sequences.rename(thing.table, thing.name, name)

    def without(self, operations: Iterable[MigrateOperation]) -> list[MigrateOperation]:
        """Operations but those that drop or make what gets another name."""
        known = {(thing.table, thing.name) for pair in self.names for thing in pair}
        found: list[MigrateOperation] = []
        for operation in operations:
            if isinstance(operation, ModifyTableOps):
                operation.ops = self.without(operation.ops)
                if operation.ops:
                    found.append(operation)
            elif _subject(operation) not in known:
                found.append(operation)
        return found


def _what(thing: Thing, definition: str) -> tuple[str, str, str]:
    """What a thing is, whatever its name is."""
    return thing.kind, thing.table, _NAME.sub(r"\1 ", definition)


def _subject(operation: Any) -> tuple[str, str]:
    """The table and the name of what an operation drops or makes."""
    table = getattr(operation, "source_table", None) or getattr(operation, "table_name", "")
    schema = getattr(operation, "schema", None)
    name = getattr(operation, "constraint_name", None) or getattr(operation, "index_name", None)
    return f"{schema}.{table}" if schema else str(table), str(name)
