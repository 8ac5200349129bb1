"""SQLite: positions are counted in a one-row table, inside each writing transaction.

The count travels to every copy of the file together with the data, so a replica's position is
exact in whatever snapshot a reader has of it, however the copy is made.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from orm._greenlet import in_greenlet
from orm.backends.base import FileCopy, Thing
from orm.backends.sqlite_dangling import dangling, summary
from orm.backends.sqlite_definitions import definitions
from orm.backends.sqlite_migrating import migrating
from orm.backends.sqlite_snapshot import snapshot
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["SQLiteBackend"]

_CREATE: Final = """\
CREATE TABLE IF NOT EXISTS orm_position (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    file VARCHAR NOT NULL,
    history VARCHAR(32) NOT NULL,
    sequence INTEGER NOT NULL,
    schema_version INTEGER NOT NULL
)"""
_FIRST_ROW: Final = """\
INSERT INTO orm_position (id, file, history, sequence, schema_version)
SELECT 1, '', '', 0, -1 WHERE NOT EXISTS (SELECT 1 FROM orm_position)"""
# A copy or a restored backup is another file, which counts on from where it was copied: without a
# history of its own its later commits would be taken for those that the copy does not have.
_NEW_HISTORY: Final = """\
UPDATE orm_position SET file = :file, history = lower(hex(randomblob(16))) WHERE file <> :file"""
_POSITION: Final = "SELECT history, sequence FROM orm_position"
# sqlite3_total_changes() does not count DDL; the schema cookie does (SQLite "PRAGMA
# schema_version"), and kept in the row it also finds DDL that another program committed before.
_RAISE_POSITION: Final = """\
UPDATE orm_position
SET sequence = sequence + 1, schema_version = (SELECT schema_version FROM pragma_schema_version)
WHERE ? OR schema_version <> (SELECT schema_version FROM pragma_schema_version)
RETURNING history, sequence"""

_SETUP: Final = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = {};"
_WRITER_SETUP: Final = "PRAGMA journal_mode = WAL;" + _SETUP
# A table rebuild drops the old table, which would cascade into its children; `verify` makes up for
# it before COMMIT.
_MIGRATION_SETUP: Final = _WRITER_SETUP.format("OFF")
_READER_SETUP: Final = "PRAGMA query_only = ON;" + _SETUP

_CHANGES: Final = "orm.sqlite.changes"
_COMMITTED: Final = "orm.sqlite.committed"
_INCARNATION: Final = "orm.sqlite.incarnation"
_LOOKED: Final = "orm.sqlite.looked"
_STREAMS: Final = "orm.sqlite.streams"

_LOOK: Final = 0.05
"""Seconds between two looks at a connection's file: a system call may cost as much as a read."""

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB})
_UNAVAILABLE: Final = _DAMAGED | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


class SQLiteBackend:
    """SQLite through aiosqlite. Implements `orm.backends.Backend`."""

    reserved_tables = frozenset({"orm_position"})
    all_ddl_is_transactional = True

    def writer_engine(self, url: URL, **options: Any) -> AsyncEngine:
        # One connection: writers then queue in turn in the pool, where SQLite's own lock would
        # have them poll, and starve under load.
        if "poolclass" not in options:
            options |= {"pool_size": 1, "max_overflow": 0}
        return _writer(url, _WRITER_SETUP.format("ON"), **options)

    def migration_engine(self, url: URL, **options: Any) -> Engine:
        # The stdlib's driver itself: migrations are in nobody's event loop, and aiosqlite visits
        # its thread four times for each statement.
        engine = create_engine(_writable(url).set(drivername="sqlite"), **_in_our_hands(options))
        event.listen(engine, "connect", lambda driver, _: driver.executescript(_MIGRATION_SETUP))
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "commit", _raise_position)
        return engine

    def migrating(self, connection: Connection) -> AbstractContextManager[None]:
        return migrating(connection, _file_of(connection))

    def is_absent(self, url: URL) -> bool:
        return not _file(url).exists()

    def reader_engine(self, url: URL, **options: Any) -> AsyncEngine:
        file = _file(url)
        query = {key: value for key, value in url.query.items() if key != "mode"}
        engine = create_async_engine(
            url.set(
                database=f"file:{quote(str(file))}", query=query | {"mode": "ro", "uri": "true"}
            ),
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            **_in_our_hands(options),
        )
        sync, setup = engine.sync_engine, _READER_SETUP.format("ON")
        event.listen(sync, "do_connect", partial(_before_open, file))
        event.listen(sync, "connect", lambda connection, _: _run_script(connection, setup))
        event.listen(sync, "checkout", partial(_check_file, file))
        _clean_up(sync)
        event.listen(sync, "handle_error", _explain)
        return engine

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        engine = reader.sync_engine.execution_options()
        event.listen(engine, "begin", _begin_snapshot)
        event.listen(engine, "rollback", _end_snapshot)
        return engine

    def prepare(self, connection: Connection) -> None:
        connection.execute(text(_CREATE))
        connection.execute(text(_FIRST_ROW))
        connection.execute(text(_NEW_HISTORY), {"file": _identity(_file_of(connection))})

    def faults(self, connection: Connection) -> Counter[str]:
        return dangling(connection)

    def verify(self, connection: Connection, known: Counter[str]) -> None:
        found = dangling(connection) - known
        if found:
            raise MigrationError(
                f"{found.total()} foreign key(s) would be left without their parent row: "
                f"{summary(found)}. Delete or update these rows in the same revision"
            )

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        file = _file_of(connection)
        copy = snapshot(file, name, without)
        if copy is None:
            return None
        return (
            f"{copy} (to go back: stop what uses {file.name}, delete {file.name}-wal and "
            f"{file.name}-shm, and move this file to {file.name})"
        )

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    @contextmanager
    def scratch(self, url: URL) -> Iterator[Connection]:
        engine = create_engine("sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def lint(self, sql: str) -> Sequence[str] | None:
        return ()  # there is none, and nobody else to wait for a lock

    def incarnation(self, connection: Connection) -> str:
        return str(connection.info[_INCARNATION])

    def position(self, connection: Connection) -> Bookmark | None:
        try:
            row = connection.execute(text(_POSITION)).one_or_none()
        except OperationalError as error:
            if _code(error) == sqlite3.SQLITE_ERROR:  # no such table: never prepared
                return None
            raise
        return None if row is None else Bookmark.at(row.history, row.sequence)

    def seen(self, connection: Connection) -> Bookmark | None:
        return self.position(connection)

    def committed(self, connection: Connection) -> Bookmark | None:
        committed: Bookmark | None = connection.info.pop(_COMMITTED, None)
        return committed

    def is_unavailable(self, error: DBAPIError) -> bool:
        return _code(error) in _UNAVAILABLE

    def is_damaged(self, error: DBAPIError) -> bool:
        return _code(error) in _DAMAGED

    def is_read_only(self, error: DBAPIError) -> bool:
        return _code(error) == sqlite3.SQLITE_READONLY

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        source = _file(primary)
        files = [
            source.with_name(f"{source.stem}.replica-{number}{source.suffix}")
            for number in range(1, count + 1)
        ]
        return [FileCopy(source, file, primary.set(database=str(file))) for file in files]


def _file(url: URL) -> Path:
    """The database file, absolute."""
    if url.drivername != "sqlite+aiosqlite":
        raise ConfigurationError(
            f"{url.drivername!r} has no async driver: use sqlite+aiosqlite:///path/to/file"
        )
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError(
            "an embedded database is a file that several connections share: "
            "give a plain path, as in sqlite+aiosqlite:///app.db"
        )
    return Path(url.database).absolute()


def _file_of(connection: Connection) -> Path:
    # Of `migration_engine`'s connections too, whose driver is another one.
    return _file(connection.engine.url.set(drivername="sqlite+aiosqlite"))


def _in_our_hands(options: dict[str, Any]) -> dict[str, Any]:
    """Engine options with which the driver never begins a transaction by itself."""
    arguments = options.get("connect_args", {}) | {"isolation_level": None}
    return options | {"connect_args": arguments}


def _code(error: DBAPIError) -> int | None:
    """SQLite's primary result code (SQLite "Result and Error Codes")."""
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _run_script(connection: DBAPIConnection, script: str) -> None:
    connection.run_async(lambda driver: driver.executescript(script))


def _clean_up(engine: Engine) -> None:
    """Have connections go back to the pool with nothing left of what they were used for."""
    # The dialect's events: a single one of the connection's own (after_cursor_execute, say) would
    # have SQLAlchemy look for listeners at every step of every statement, for 5 % of a short read.
    event.listen(engine, "do_execute", _remember_stream)
    event.listen(engine, "do_execute_no_params", _remember_stream)
    event.listen(engine, "reset", _reset)
    event.listen(engine, "invalidate", _let_go)


def _remember_stream(cursor: Any, *statement_and_context: Any) -> None:
    if cursor.server_side:
        context: ExecutionContext = statement_and_context[-1]
        context.root_connection.info.setdefault(_STREAMS, []).append(cursor)


def _reset(connection: Any, record: ConnectionPoolEntry, state: Any) -> None:
    streams = record.info.pop(_STREAMS, ())
    if not state.asyncio_safe:  # the connection will not be used again
        return
    # A half-read cursor would keep the connection in the snapshot that it reads, and with it all
    # that is read there later (SQLite "Isolation In SQLite").
    for cursor in streams:
        cursor.close()
    # The pool's own reset visits the driver's thread even when there is nothing to roll back, or
    # never does, on a connection that it takes to be in autocommit: a savepoint may be open.
    if connection.driver_connection.in_transaction:
        connection.rollback()


def _let_go(connection: DBAPIConnection, *_: Any) -> None:
    """End the transaction of a connection that is about to be closed, as after a cancellation.

    Closing it does not, while a cursor of the cancelled statement is still referenced: the
    connection goes on as a "zombie" (SQLite "sqlite3_close_v2"), and so does its lock.
    """
    if in_greenlet():  # else it is being collected as garbage, and its cursors with it
        with suppress(sqlite3.Error):  # a connection in such a state ends by being closed
            connection.rollback()


def _explain(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception and "no such table" in str(context.original_exception):
        context.sqlalchemy_exception.add_note(
            "Has this database been migrated? Run: alembic upgrade head"
        )


# Writers -----------------------------------------------------------------------------------


def _writable(url: URL) -> URL:
    file = _file(url)
    if not file.parent.is_dir():
        raise ConfigurationError(f"the folder of the database does not exist: {file.parent}")
    return url.set(database=str(file))


def _writer(url: URL, setup: str, **options: Any) -> AsyncEngine:
    engine = create_async_engine(
        _writable(url), pool_reset_on_return=None, **_in_our_hands(options)
    )
    sync = engine.sync_engine
    event.listen(sync, "connect", lambda connection, _: _run_script(connection, setup))
    event.listen(sync, "begin", _begin_immediate)
    event.listen(sync, "commit", _raise_position)
    _clean_up(sync)
    event.listen(sync, "handle_error", _explain)
    event.listen(sync, "set_connection_execution_options", _refuse_autocommit)
    event.listen(sync, "set_engine_execution_options", _refuse_autocommit)
    return engine


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN fails at its first write if anybody wrote since its first read, without
    # waiting (SQLite "Isolation": SQLITE_BUSY_SNAPSHOT).
    driver = connection.connection.driver_connection
    _in_one_hop(connection, "BEGIN IMMEDIATE")
    connection.info.pop(_COMMITTED, None)
    connection.info[_CHANGES] = driver.total_changes  # type: ignore[union-attr]


def _raise_position(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    changed = driver.total_changes != connection.info[_CHANGES]  # type: ignore[union-attr]
    for history, sequence in _in_one_hop(connection, _RAISE_POSITION, (changed,)):
        connection.info[_COMMITTED] = Bookmark.at(history, sequence)


def _in_one_hop(connection: Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    """Execute in a single visit to the driver's thread, where a cursor takes four."""
    dbapi: Any = connection.connection.dbapi_connection
    try:
        if isinstance(dbapi, sqlite3.Connection):  # `migration_engine`: there is no thread
            return dbapi.execute(sql, parameters).fetchall()
        return dbapi.run_async(lambda driver: driver.execute_fetchall(sql, parameters))
    except sqlite3.Error as error:  # past SQLAlchemy's own wrapping
        raise OperationalError(sql, parameters, error) from error
    except asyncio.CancelledError:
        connection.invalidate()  # the driver's thread goes on, and would begin after a reset
        raise


def _refuse_autocommit(_: Any, options: dict[str, Any]) -> None:
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise ConfigurationError(
            "AUTOCOMMIT on the primary would write past the position that bookmarks rest on: "
            "use a transaction, or a connection of your own for what cannot run in one"
        )


# Readers -----------------------------------------------------------------------------------


def _identity(file: Path) -> str | None:
    """Which file a path leads to; None if there is none.

    An embedded replica is a link to files whose names are never used again, where an inode's
    number would be.
    """
    # Only ever look: opening and closing a database file drops this process's POSIX locks on it
    # (SQLite "How To Corrupt An SQLite Database File", 2.2).
    try:
        return os.readlink(file)
    except FileNotFoundError:
        return None
    except OSError:  # no link
        status = os.stat(file)
        return f"{status.st_dev}-{status.st_ino}"


def _before_open(file: Path, _dialect: Any, record: ConnectionPoolEntry, *_: Any) -> None:
    record.info[_INCARNATION] = _identity(file)
    record.info[_LOOKED] = -_LOOK
    if record.info[_INCARNATION] is None:  # SQLite would not say which file
        error = sqlite3.OperationalError(f"unable to open database file: {file} does not exist")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error


def _check_file(file: Path, _c: DBAPIConnection, record: ConnectionPoolEntry, _p: Any) -> None:
    """Drop a connection whose file was deleted or replaced: it would never move again.

    Until it is found out, what is read there is still what was known of that very file.
    """
    now = monotonic()
    if now - record.info[_LOOKED] >= _LOOK:
        record.info[_LOOKED] = now
        if record.info[_INCARNATION] != _identity(file):
            raise DisconnectionError(f"{file.name} was replaced")


def _begin_snapshot(connection: Connection) -> None:
    _in_one_hop(connection, "BEGIN")


def _end_snapshot(connection: Connection) -> None:
    # The dialect skips the ROLLBACK of a connection that it takes to be in autocommit.
    if not connection.invalidated:
        _in_one_hop(connection, "ROLLBACK")
