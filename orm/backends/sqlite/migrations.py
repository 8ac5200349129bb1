"""Migrations of SQLite (`orm.backends.Migrations`)."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL, Connection, MetaData, StaticPool, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from orm.backends.migrations import Write
from orm.backends.sqlite.anew import replaced
from orm.backends.sqlite.broken import broken
from orm.backends.sqlite.dangling import dangling, summary
from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.engines import is_absent
from orm.backends.sqlite.engines import migration_engine as engine
from orm.backends.sqlite.files import file_at, file_of
from orm.backends.sqlite.migrating import locked, migrating
from orm.backends.sqlite.pragmas import do, says
from orm.backends.sqlite.recording import script
from orm.backends.sqlite.snapshot import KEPT, snapshot
from orm.backends.sqlite.writing import write
from orm.backends.things import Thing
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = [
    "adapted",
    "all_ddl_is_transactional",
    "begin_anew",
    "beyond_models",
    "broken",
    "costs",
    "definitions",
    "engine",
    "explain",
    "faults",
    "has_linter",
    "is_absent",
    "is_generated_name",
    "is_not_understood",
    "journal",
    "lint",
    "migrating",
    "new_columns_need_constants",
    "operations_for",
    "prepare_alembic",
    "prepare_scratch",
    "reserved_tables",
    "restore_point",
    "scratch",
    "scratch_can_lack",
    "script",
    "shares_names",
    "surprises",
    "verify",
    "watch_transaction",
]

_NOT_UNDERSTOOD: Final = re.compile(
    "syntax error|no such (function|module|collation)|unrecognized token|not supported"
)
# The last ones are of Cloudflare's D1 and of wrangler, its tool.
reserved_tables: frozenset[str] = frozenset(
    {"orm_position", "d1_migrations", "_cf_ALARM", "_cf_KV", "_cf_METADATA"}
)
all_ddl_is_transactional = True
new_columns_need_constants = True
shares_names = False
scratch_can_lack = False
has_linter = False
costs = None
journal = None

faults = dangling


def prepare_alembic() -> None:
    """Have Alembic rebuild tables without losses."""
    import orm.backends.sqlite.altering  # noqa: F401 - Alembic finds by itself what it defines


def watch_transaction(connection: Connection) -> Callable[[], bool]:
    """By a setting that lasts for a transaction, and has no effect where foreign keys are off.

    SQLite switches it off at each COMMIT and ROLLBACK ("PRAGMA defer_foreign_keys").
    """
    do(connection, "PRAGMA defer_foreign_keys = ON")
    return lambda: says(connection, "PRAGMA defer_foreign_keys")


def verify(connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
    """See that no new foreign key leads nowhere, and make the last writes.

    Raises:
        MigrationError: one does.
    """
    found = dangling(connection) - known
    if found:
        raise MigrationError(
            f"{found.total()} foreign key(s) would be left without their parent row: "
            f"{summary(found)}. Delete or update these rows in the same revision"
        )
    for statement, values in writes:
        write(connection, statement, values)


def explain(connection: Connection, error: DBAPIError) -> Sequence[str]:
    """What to do with rows that do not fit into the table that takes the place of theirs."""
    if "_alembic_tmp_" in (error.statement or "") and isinstance(error, IntegrityError):
        return ["Update or delete such rows in the same revision, before the table is rebuilt"]
    return ()


def is_not_understood(error: DBAPIError) -> bool:
    """By its message, since SQLite has one code for all that is wrong with a statement."""
    return _NOT_UNDERSTOOD.search(str(error.orig)) is not None


def restore_point(connection: Connection, name: str, without: frozenset[str]) -> str | None:
    """A copy of the file, and how to go back to it."""
    file = file_of(connection)
    copy = snapshot(file, name, without)
    if copy is None:
        return None
    return (
        f"{copy} (to go back: stop what uses {file.name}, delete {file.name}-wal and "
        f"{file.name}-shm, and move this file to {file.name}; the last {KEPT} restore points stay)"
    )


@contextmanager
def begin_anew(url: URL, suits: Callable[[URL], bool]) -> Iterator[tuple[URL, str | None]]:
    """A file beside it, which begins as the latest restore point that suits, or empty."""
    file = file_at(url)
    with locked(file, patience=0), replaced(file, url, suits) as made:
        yield made


@contextmanager
def scratch(url: URL, *, beside: bool = False) -> Iterator[Connection]:
    """A database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def prepare_scratch(
    connection: Connection, schemas: Collection[str], like: Mapping[Thing, str]
) -> None:
    """Nothing: SQLite has no schemas that are created, and no extensions in a database."""


def beyond_models(connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
    """Views, in the order in which they were made, and then triggers."""
    made = text(
        "SELECT sql FROM sqlite_master WHERE type IN ('view', 'trigger') "
        "ORDER BY type = 'trigger', rowid"
    )
    return (), connection.scalars(made).all()


def surprises(new: Mapping[Thing, str]) -> Sequence[str]:
    """None."""
    return ()


def is_generated_name(name: str) -> bool:
    """False: a constraint without a name has none."""
    return False


def adapted(
    operations: "Sequence[MigrateOperation]",
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> "Sequence[MigrateOperation] | None":
    """Those of Alembic, which are carried out by rebuilds of this package's own."""
    return operations


def operations_for(
    left: Mapping[Thing, tuple[str | None, str | None]],
    operations: "Sequence[MigrateOperation]",
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> "Sequence[MigrateOperation] | None":
    """Rebuilds to the models' own tables (`orm.backends.Migrations.operations_for`)."""
    from orm.backends.sqlite.rewriting import with_rebuilds

    return with_rebuilds(left, operations, models)


def lint(sql: str) -> Sequence[str] | None:
    """Nothing: there is no linter, and no other connection that would wait for a lock."""
    return ()
