"""Why a revision failed, in one message: file, line, statement, cause, and what stays."""

import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends import Migrations
from orm.exceptions import MigrationError, OrmError
from orm.migrations.revision import Revision

__all__ = [
    "RevisionFailed",
    "Stays",
    "TransactionEnded",
    "cause_in_scratch",
    "cause_of",
    "failed",
    "known_of",
    "loading",
    "loading_models",
    "where",
]


class RevisionFailed(MigrationError):
    """A revision has failed.

    Attributes:
        what: the message without its last sentence, which says where the database is, and what to
            do.
    """

    def __init__(self, what: str, then: str) -> None:
        super().__init__(f"{what}\n{then}")
        self.what = what


class TransactionEnded(MigrationError):
    """A revision has ended the transaction in which it ran."""


@dataclass(frozen=True, slots=True)
class Stays:
    """What stays of a revision that has failed, on an engine whose DDL commits.

    Attributes:
        done: how many of its statements; None if that is not known.
    """

    done: int | None

    @property
    def words(self) -> str:
        """What stays."""
        match self.done:
            case None:
                return "what it did before that stays"
            case 0:
                return "nothing of it stays"
            case 1:
                return "its first statement stays"
            case _:
                return f"its first {self.done} statements stay"

    @property
    def goes_on(self) -> str:
        """What the next run begins with."""
        match self.done:
            case None:
                return "the first statement that was not done"
            case 0:
                return "this revision"
            case _:
                return f"its statement {self.done + 1}, and leaves out those that were done"


ALONE: Final = (
    "Put the statement, alone, into a block that runs in no transaction: "
    "with op.get_context().autocommit_block():"
)
"""What to do with a statement that cannot run in a transaction (`Migrations.runs_alone`)."""
_LONGEST: Final = 1000
"""Characters of a statement that are shown."""
_HERE: Final = Path(__file__).parent
_LIBRARY: Final = _HERE.parent


def failed(
    revision: Revision,
    error: Exception,
    *,
    at: str | None,
    ours: bool,
    may_split: bool,
    journal: Stays | None = None,
    more: Iterable[str] = (),
) -> RevisionFailed:
    """The error to raise in place of an error in a revision.

    Args:
        revision: the revision that failed.
        error: what it failed with.
        at: the last applied revision, which the database is at now.
        ours: whether the transaction is Alembic's, and was rolled back.
        may_split: whether an ``autocommit_block`` commits what comes before it.
        journal: what stays, on an engine whose DDL commits.
        more: what the backend knows of the error besides.
    """
    if journal is not None:
        stays = journal.words
    elif isinstance(error, TransactionEnded):
        stays = "some of what it did may stay"
    elif not ours:
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
    if journal is None or not journal.done:
        correct = "the file"
    else:  # what was done has to stay in it
        correct = "the file after that, or the rows,"
    goes_on = "this revision" if journal is None else journal.goes_on
    then = f"The database {now}. Correct {correct} and apply again: apply goes on with {goes_on}."
    return RevisionFailed("\n".join(parts), then)


@contextmanager
def loading(files: Iterable[Path]) -> Iterator[None]:
    """Name the revision file whose body, outside its function, raises an error within the block.

    Raises:
        MigrationError: in place of that error.
    """
    try:
        yield
    except Exception as error:
        for file in files:
            if _line_in(file, error) is not None:
                raise MigrationError(
                    f"{file} cannot be loaded{where(file, error)}: {cause_of(error)}"
                ) from error
        raise


@contextmanager
def loading_models(environment: Path) -> Iterator[None]:
    """Name ``env.py`` if it, or the models that it imports, raise an error within the block.

    Args:
        environment: the file ``env.py``.

    Raises:
        MigrationError: in place of that error; or there is no such file.
    """
    if not environment.exists():
        raise MigrationError(
            f"there is no {environment}, which imports the models: get it back from version control"
        )
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        names = [Path(frame.filename) for frame in frames]
        if environment in names:  # and not in what env.py calls of this library
            inside = names[names.index(environment) :]
            mine = not any(name.is_relative_to(_HERE) for name in inside)
        else:
            mine = isinstance(error, SyntaxError) and error.filename == str(environment)
        if not mine:
            raise
        place = _place(error, environment)
        cause = cause_of(error).rstrip(".")
        raise MigrationError(
            f"the models cannot be loaded ({place}): {cause}. {_next_step(error, environment)}"
        ) from error


def _next_step(error: BaseException, environment: Path) -> str:
    """What to do about models that cannot be loaded."""
    place = _place(error, environment)
    if place.partition(" in line ")[0] == str(environment) and isinstance(
        error, ImportError | AttributeError | NameError
    ):
        return (
            f"Let {environment} import what has the models, and hand its MetaData over. For a "
            "module models.py with a class Base beside pyproject.toml, it says: "
            "from models import Base; from orm.migrations import run; run(Base.metadata)"
        )
    if isinstance(error, ModuleNotFoundError):
        return f"Install what has {error.name}, or correct that line"
    return "Correct that line, or what it calls"


def _place(error: BaseException, environment: Path) -> str:
    """The last line of the application's own code that led to an error."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):  # of a file that Python could not begin to run
        frames.append((error.filename or "", error.lineno))
    own = [(file, line) for file, line in frames if _is_of_application(Path(file))]
    file, line = own[-1] if own else (environment, None)
    return str(file) if line is None else f"{file} in line {line}"


def _is_of_application(file: Path) -> bool:
    """Whether a file is no part of Python, of an installed package or of this library."""
    return file.is_file() and not any(
        (
            "site-packages" in file.parts,
            file.is_relative_to(sysconfig.get_path("stdlib")),
            file.is_relative_to(_LIBRARY),
        )
    )


def cause_of(error: BaseException) -> str:
    """What a driver, or Python, says itself."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return str(error.orig)
    if isinstance(error, OrmError | CommandError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def cause_in_scratch(error: Exception, connection: Connection, migrations: Migrations) -> str:
    """`cause_of` an error in a scratch database, with what the engine knows of it besides."""
    return ". ".join([cause_of(error), *known_of(error, connection, migrations)])


def known_of(error: Exception, connection: Connection, migrations: Migrations) -> Sequence[str]:
    """What the engine knows of an error in a scratch database, besides what the driver says.

    Args:
        error: the error.
        connection: to the scratch database; its transaction is rolled back.
        migrations: of the engine.
    """
    if not isinstance(error, DBAPIError) or connection.invalidated:
        return ()
    connection.rollback()
    return migrations.explain(connection, error)


def where(file: Path, error: Exception) -> str:
    """`` in line 12`` of a file that the error passed through; empty if it did not."""
    number = _line_in(file, error)
    return "" if number is None else f" in line {number}"


def _line_in(file: Path, error: Exception) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    return lines[-1] if lines else None
