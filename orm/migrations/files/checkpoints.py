"""Checkpoints: a revision that stands for the history before it.

A database that has this history gets the checkpoint recorded; an empty one runs it. What it
replaces is another folder of Alembic's, or revisions of this line, which lie in the folder
``replaced`` beside ``versions`` until every database has the checkpoint.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Final

from orm.migrations.application import Application
from orm.migrations.files.numbers import is_number
from orm.migrations.files.revisions import read
from orm.migrations.revision import Revision

__all__ = ["before_a_checkpoint", "line_for", "read_replaced"]

_NOTHING: Final = "def upgrade() -> None:\n    pass\n"


def read_replaced(folder: Path) -> list[Revision]:
    """The revisions that checkpoints replace, by number; none if they were deleted.

    Raises:
        MigrationError: a file cannot be a revision.
    """
    files = [file for file in read(folder) if is_number(file.id)] if folder.is_dir() else []
    return sorted(files, key=lambda file: int(file.id))


def before_a_checkpoint(application: Application, revision: str | None) -> Sequence[Revision]:
    """The line of a database that is at a revision which a checkpoint replaces; else nothing.

    Raises:
        MigrationError: a file cannot be a revision.
    """
    replaced = read_replaced(application.replaced)
    if revision not in {file.id for file in replaced}:
        return ()
    return line_for(read(application.versions), replaced, [str(revision)], set())


def line_for(
    files: Sequence[Revision],
    replaced: Sequence[Revision],
    applied: Sequence[str],
    heads: Set[str],
) -> list[Revision]:
    """The revisions that matter to a database: those since its last checkpoint.

    Args:
        files: the revisions of ``versions``.
        replaced: what checkpoints replace, as far as it is there.
        applied: the revisions in the database's ledger, in their order.
        heads: the rows of ``alembic_version``.

    Returns:
        One line. A checkpoint for whose history the database has something else is in it as a
        revision that does nothing (`Revision.only_recorded`).
    """
    whole = [*replaced, *files]
    if not (applied or heads) or not any(file.replaces for file in whole):
        return list(files)
    line = whole[_start(whole, files, applied, heads) :]
    return [
        _only_recorded(file, before)
        if file.replaces
        and file.id not in applied
        and (before is not None or _is_complete(file, applied, heads))
        else file
        for before, file in zip([None, *line], line, strict=False)
    ]


def _start(
    whole: Sequence[Revision],
    files: Sequence[Revision],
    applied: Sequence[str],
    heads: Set[str],
) -> int:
    """Where the line of a database begins."""
    there = [
        at
        for at, file in enumerate(whole)
        if file.replaces
        and (file.id in applied or (not applied and _is_complete(file, applied, heads)))
    ]
    if there:
        return there[-1]
    is_ours = bool(applied) and any(file.id == applied[-1] for file in whole)
    return 0 if is_ours else len(whole) - len(files)


def _is_complete(file: Revision, applied: Sequence[str], heads: Set[str]) -> bool:
    """Whether a database is where the history ends that a checkpoint stands for."""
    return set(file.replaces) == ({applied[-1]} if applied else set(heads))


def _only_recorded(file: Revision, before: Revision | None) -> Revision:
    down = None if before is None else before.id
    return replace(file, down=down, text=_NOTHING, only_recorded=True)
