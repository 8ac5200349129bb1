"""Engines for each purpose: what their connections are set to, and how they begin and end."""

import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from orm._greenlet import in_greenlet
from orm.backends import sqlite
from orm.backends.pool import FairPool
from orm.backends.sqlite.driver import begin, in_one_hop, in_our_hands, open_or_close, run_script
from orm.backends.sqlite.files import file_at, identity
from orm.backends.sqlite.position import POSITION, note_changes, raise_if_ended, raise_position
from orm.exceptions import ConfigurationError

__all__ = [
    "incarnation",
    "is_absent",
    "is_idle",
    "migration_engine",
    "reader_engine",
    "snapshot_engine",
    "writer_engine",
]

_SETUP: Final = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = {};"
_WRITER_SETUP: Final = "PRAGMA journal_mode = WAL;" + _SETUP
# A table rebuild drops the old table, which would cascade into its children; `verify` makes up for
# it before COMMIT.
_MIGRATION_SETUP: Final = _WRITER_SETUP.format("OFF")
_READER_SETUP: Final = "PRAGMA query_only = ON;" + _SETUP

_INCARNATION: Final = "orm.sqlite.incarnation"
_OPENED: Final = "orm.sqlite.opened"
_STREAMS: Final = "orm.sqlite.streams"

_LOOK: Final = 0.05
"""Seconds between two looks at an engine's file: a system call may cost as much as a read."""


def writer_engine(url: URL, **options: Any) -> AsyncEngine:
    """For transactions that may write."""
    # One connection: writers then queue in turn in the pool, where SQLite's own lock would
    # have them poll, and starve under load.
    if "poolclass" not in options:
        options |= {"pool_size": 1, "max_overflow": 0}
    return _writer(url, _WRITER_SETUP.format("ON"), **options)


def migration_engine(url: URL, **options: Any) -> Engine:
    """For transactions that change the schema; foreign keys are not enforced."""
    # The stdlib's driver itself: migrations need no event loop, and aiosqlite visits its thread
    # four times for each statement.
    engine = create_engine(_writable(url).set(drivername="sqlite"), **in_our_hands(options))
    event.listen(engine, "connect", lambda driver, _: driver.executescript(_MIGRATION_SETUP))
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "commit", raise_position)
    return engine


def is_absent(url: URL) -> bool:
    """Whether the file is not there yet; its folder has to be."""
    return not _place(url).exists()


def _writable(url: URL) -> URL:
    return url.set(database=str(_place(url)))


def _place(url: URL) -> Path:
    file = file_at(url)
    if not file.parent.is_dir():
        raise ConfigurationError(f"the folder of the database does not exist: {file.parent}")
    return file


def _writer(url: URL, setup: str, **options: Any) -> AsyncEngine:
    engine = create_async_engine(_writable(url), pool_reset_on_return=None, **_visited(options))
    sync = engine.sync_engine
    event.listen(sync, "do_connect", open_or_close)
    event.listen(sync, "connect", lambda connection, _: run_script(connection, setup))
    event.listen(sync, "begin", _begin_immediate)
    event.listen(sync, "commit", raise_position)
    event.listen(sync, "rollback", raise_if_ended)
    _clean_up(sync)
    event.listen(sync, "handle_error", _explain)
    return engine


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN fails at its first write if another connection wrote since its first read,
    # without waiting (SQLite "Isolation": SQLITE_BUSY_SNAPSHOT).
    begin(connection, "BEGIN IMMEDIATE")
    note_changes(connection)


# Readers -----------------------------------------------------------------------------------


def reader_engine(url: URL, **options: Any) -> AsyncEngine:
    """Read-only and in autocommit; connections to a file that was replaced are dropped."""
    file = file_at(url)
    query = {key: value for key, value in url.query.items() if key != "mode"}
    engine = create_async_engine(
        url.set(database=f"file:{quote(str(file))}", query=query | {"mode": "ro", "uri": "true"}),
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        **_visited(options),
    )
    sync, setup = engine.sync_engine, _READER_SETUP.format("ON")
    event.listen(sync, "do_connect", partial(_before_open, file))
    event.listen(sync, "do_connect", open_or_close)
    event.listen(sync, "connect", partial(_set_up_reader, setup))
    event.listen(sync, "checkout", partial(_check_file, _Look(file)))
    _clean_up(sync)
    return engine


def snapshot_engine(reader: AsyncEngine) -> Engine:
    """Over the pool of a reader engine, with transactions that read one snapshot."""
    engine = reader.sync_engine.execution_options()
    event.listen(engine, "begin", _begin_snapshot)
    event.listen(engine, "rollback", _end_snapshot)
    return engine


def incarnation(connection: Connection) -> str:
    """Which file a connection of a reader engine was opened on."""
    return str(connection.info[_INCARNATION])


def is_idle(connection: Connection) -> bool:
    """Whether `_reset` has nothing to roll back."""
    driver: Any = connection.connection.driver_connection
    return not driver.in_transaction


def _set_up_reader(setup: str, connection: Any, _: ConnectionPoolEntry) -> None:
    run_script(connection, setup)
    if hasattr(connection, "note"):  # `VisitedConnection`: else the application has opened it
        connection.note(POSITION)


def _before_open(file: Path, _dialect: Any, record: ConnectionPoolEntry, *_: Any) -> None:
    record.info[_INCARNATION] = identity(file)
    record.info[_OPENED] = True
    # SQLite would not say which file; and what fails to open leaves a thread of aiosqlite's, which
    # may be late for the end of the event loop.
    why = None
    if record.info[_INCARNATION] is None:
        why = "does not exist"
    elif not file.is_file() or not os.access(file, os.R_OK):
        why = "is no file that can be read"
    if why is not None:
        error = sqlite3.OperationalError(f"unable to open database file: {file} {why}")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error


class _Look:
    """Which file a path leads to, by the latest look at it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._found: str | None = None
        self._until = -_LOOK

    def now(self) -> str | None:
        self._found, self._until = identity(self.file), monotonic() + _LOOK
        return self._found

    def lately(self) -> str | None:
        return self._found if monotonic() < self._until else self.now()


def _check_file(look: _Look, _c: DBAPIConnection, record: ConnectionPoolEntry, _p: Any) -> None:
    """Drop a connection whose file was deleted or replaced: it would never move again.

    Until it is found out, what is read there is still what was known of that very file. What was
    opened just now is compared with what is there since: it may have been replaced meanwhile.
    """
    opened = record.info[_INCARNATION]
    if (record.info.pop(_OPENED, False) or opened != look.lately()) and opened != look.now():
        raise DisconnectionError(f"{look.file.name} was replaced")


def _begin_snapshot(connection: Connection) -> None:
    begin(connection, "BEGIN")


def _end_snapshot(connection: Connection) -> None:
    # The dialect skips the ROLLBACK of a connection that it takes to be in autocommit.
    if not connection.invalidated:
        in_one_hop(connection, "ROLLBACK")


# All of them -------------------------------------------------------------------------------


def _visited(options: dict[str, Any]) -> dict[str, Any]:
    for creator in ("async_creator", "creator"):
        if options.get(creator) is not None:
            raise ConfigurationError(
                f"{creator} would open each file in one way, the replicas' too, and past what "
                "bookmarks rest on: leave it out, and give what aiosqlite takes in connect_args"
            )
    return {"module": sqlite.one_visit(), "poolclass": FairPool} | in_our_hands(options)


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
    if hasattr(connection, "forget"):
        connection.forget()
    # The pool's own reset visits the driver's thread even when there is nothing to roll back, or
    # never does, on a connection that it takes to be in autocommit: a savepoint may be open.
    if connection.driver_connection.in_transaction:
        connection.rollback()


def _let_go(connection: DBAPIConnection, record: ConnectionPoolEntry, _: Any) -> None:
    """End the transaction of a connection that is about to be closed, as after a cancellation.

    Closing it does not, while a cursor of the cancelled statement is still referenced: the
    connection goes on as a "zombie" (SQLite "sqlite3_close_v2"), and so does its lock. And a cursor
    that is closed after its connection is an error in the log.
    """
    if in_greenlet():  # else it is being collected as garbage, and its cursors with it
        with suppress(sqlite3.Error):  # a connection in such a state ends by being closed
            for cursor in record.info.pop(_STREAMS, ()):
                cursor.close()
            connection.rollback()


def _explain(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception and "FOREIGN KEY" in str(context.original_exception):
        context.sqlalchemy_exception.add_note(
            "Foreign keys are enforced here, as on a server; SQLite by itself leaves them off. The "
            "row that is referred to has to exist, at the end of the transaction at the latest if "
            "that begins with PRAGMA defer_foreign_keys = ON."
        )
