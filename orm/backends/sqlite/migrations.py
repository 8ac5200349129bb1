"""Migrations of SQLite (`orm.backends.Migrations`).

One runs at a time, on a connection that a table rebuild cannot cascade through.
"""

import asyncio
import logging
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, MetaData, StaticPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from orm._greenlet import await_, in_greenlet
from orm.backends.migrations import Thing, Write
from orm.backends.sqlite.anew import replaced
from orm.backends.sqlite.dangling import dangling, summary
from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.engines import is_absent
from orm.backends.sqlite.engines import migration_engine as engine
from orm.backends.sqlite.files import file_at, file_of
from orm.backends.sqlite.recording import script
from orm.backends.sqlite.snapshot import KEPT, snapshot
from orm.backends.sqlite.writing import write
from orm.exceptions import ConfigurationError, MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = [
    "adapted",
    "all_ddl_is_transactional",
    "begin_anew",
    "beyond_models",
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

_LOG: Final = logging.getLogger(__name__)
_NOT_UNDERSTOOD: Final = re.compile(
    "syntax error|no such (function|module|collation)|unrecognized token|not supported"
)
_POLL: Final = 0.02
"""Seconds between two tries for the lock."""

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
    import orm.backends.sqlite.rebuild  # noqa: F401 - Alembic finds by itself what it defines


def watch_transaction(connection: Connection) -> Callable[[], bool]:
    """By a setting that lasts for a transaction, and has no effect where foreign keys are off.

    SQLite switches it off at each COMMIT and ROLLBACK ("PRAGMA defer_foreign_keys").
    """
    _set(connection, "PRAGMA defer_foreign_keys = ON")
    return lambda: _says(connection, "PRAGMA defer_foreign_keys")


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
    with _lock(file, patience=0), replaced(file, url, suits) as made:
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


# One at a time -----------------------------------------------------------------------------


@contextmanager
def migrating(connection: Connection, patience: float) -> Iterator[None]:
    """Hold the lock of the database's migrations (`orm.backends.Migrations.migrating`).

    Raises:
        MigrationError: another run takes longer.
        ConfigurationError: the connection is inside a transaction, where it cannot be made fit: it
            enforces foreign keys, or its driver has not sent BEGIN yet, and would not before DDL.
    """
    if connection.in_transaction():
        if not _is_fit(connection):
            raise ConfigurationError(
                "the connection that was handed in is inside a transaction that enforces foreign "
                "keys, or that its driver has not begun yet: a table rebuild would delete rows, or "
                "stay half done. Hand the connection in before its transaction begins"
            )
        yield  # SQLite has one writer at a time, and that is this transaction's owner
        return
    in_memory = not connection.engine.url.database  # then there is no other process
    with nullcontext() if in_memory else _lock(file_of(connection), patience), _fit(connection):
        yield


def _driver(connection: Connection) -> Any:
    """The driver's connection: using it begins no transaction."""
    return connection.connection.dbapi_connection


def _says(connection: Connection, pragma: str) -> bool:
    cursor = _driver(connection).cursor()
    try:
        cursor.execute(pragma)
        return bool(cursor.fetchone()[0])
    finally:
        cursor.close()


def _set(connection: Connection, pragma: str) -> None:
    cursor = _driver(connection).cursor()
    try:
        cursor.execute(pragma)
    finally:
        cursor.close()


def _is_fit(connection: Connection) -> bool:
    """Whether a transaction that SQLAlchemy has begun is one for SQLite too, without cascades."""
    driver: Any = connection.connection.driver_connection
    return driver.in_transaction and not _says(connection, "PRAGMA foreign_keys")


@contextmanager
def _fit(connection: Connection) -> Iterator[None]:
    """Foreign keys off, and transactions that hold DDL, until the end of the block."""
    driver = _driver(connection)
    enforced, level = _says(connection, "PRAGMA foreign_keys"), driver.isolation_level
    if enforced:
        # Outside of a transaction: inside it does nothing (SQLite "PRAGMA foreign_keys").
        _set(connection, "PRAGMA foreign_keys = OFF")
    if level is not None:  # the driver would begin before INSERT, and not before CREATE TABLE
        driver.isolation_level = None
        event.listen(connection, "begin", _begin)
    try:
        yield
    finally:
        if level is not None:
            event.remove(connection, "begin", _begin)
            driver.isolation_level = level
        if enforced:
            _set(connection, "PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    _set(connection, "BEGIN IMMEDIATE")


@contextmanager
def _lock(file: Path, patience: float) -> Iterator[None]:
    """One at a time: the write lock of an empty database beside the file.

    The system frees it with the process, and it leaves the database's own lock to the revisions'
    transactions. (A home-made POSIX lock would be let go by the closing of any descriptor.)
    """
    name = file.with_name(f"{file.name}-migrating")
    with closing(sqlite3.connect(name, timeout=0, isolation_level=None)) as lock:
        lock.execute("PRAGMA journal_mode = OFF")  # nothing is ever written
        until, waited = time.monotonic() + patience, False
        while True:
            try:
                lock.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            if time.monotonic() >= until:
                raise MigrationError(
                    f"another process is migrating {file}, and was not done within {patience:g} s: "
                    "apply again when it is"
                )
            if not waited:
                _LOG.warning("another process is migrating %s: waiting for it", file)
                waited = True
            _sleep()
        yield


def _sleep() -> None:
    if in_greenlet():  # the holder of the lock may run in this very event loop
        await_(asyncio.sleep(_POLL))
    else:
        time.sleep(_POLL)
