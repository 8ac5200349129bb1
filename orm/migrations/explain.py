"""Why a revision failed, in one message: file, line, statement, cause, and what stays."""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from orm.exceptions import MigrationError, OrmError
from orm.migrations.files.revisions import Revision

__all__ = ["cause_of", "failed", "loading", "where"]

_LONGEST: Final = 1000
"""Characters of a statement that are shown."""


def failed(
    revision: Revision,
    error: Exception,
    *,
    at: str | None,
    ours: bool,
    may_split: bool,
    more: Iterable[str] = (),
) -> MigrationError:
    """What to raise in place of an error in a revision.

    Args:
        revision: which failed.
        error: what it failed with.
        at: the revision before it, which the database is at now.
        ours: whether the transaction is Alembic's, and was rolled back.
        may_split: whether an ``autocommit_block`` commits what comes before it.
        more: `orm.backends.Migrations.explain` of the error.
    """
    if not ours:
        stays = "the transaction is yours to roll back"
    elif may_split and "autocommit_block" in revision.path.read_text("utf-8-sig"):
        stays = "what it did up to its last autocommit_block may stay"
    else:
        stays = "nothing of it stays"
    parts = [f"{revision.name}.py failed{where(revision.path, error)}, {stays}: {cause_of(error)}"]
    parts.extend(more)
    if isinstance(error, DBAPIError) and error.statement:
        statement = " ".join(error.statement.split())
        parts.append(f"The statement: {statement[:_LONGEST]}")
    now = f"is at {at}" if at else "has no revision yet"
    parts.append(f"The database {now}: correct the file and apply again, it goes on from there.")
    return MigrationError("\n".join(parts))


@contextmanager
def loading(files: Iterable[Revision]) -> Iterator[None]:
    """Name the file whose body, outside its function, raises an error within the block.

    Raises:
        MigrationError: in place of that error.
    """
    try:
        yield
    except Exception as error:
        for file in files:
            if _line_in(file.path, error) is not None:
                raise MigrationError(
                    f"{file.path} cannot be loaded{where(file.path, error)}: {cause_of(error)}"
                ) from error
        raise


def cause_of(error: Exception) -> str:
    """What a driver, or Python, says itself."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return str(error.orig)
    if isinstance(error, OrmError | CommandError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def where(file: Path, error: Exception) -> str:
    """`` in line 12``, if the error came by there; else nothing."""
    number = _line_in(file, error)
    return "" if number is None else f" in line {number}"


def _line_in(file: Path, error: Exception) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return lines[-1] if lines else None
