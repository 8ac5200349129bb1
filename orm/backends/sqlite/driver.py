"""The sqlite3 module below SQLAlchemy, in a thread of aiosqlite's or not."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from orm._greenlet import await_, greenlet_spawn

__all__ = [
    "Execute",
    "Work",
    "at_commit",
    "begin",
    "code",
    "in_one_hop",
    "in_our_hands",
    "open_or_close",
    "run_script",
]

Execute = Callable[[str, tuple[Any, ...]], list[Any]]
"""Executes SQL with its parameters; returns the rows."""
Work = Callable[[Execute], list[Any]]
"""What is done in a transaction, before its COMMIT; returns rows."""


def in_our_hands(options: dict[str, Any]) -> dict[str, Any]:
    """Engine options with which the driver never begins a transaction by itself."""
    arguments = options.get("connect_args", {}) | {"isolation_level": None}
    return options | {"connect_args": arguments}


def begin(connection: Connection, sql: str) -> None:
    """Begin a transaction, with the first statement at the latest."""
    dbapi: Any = connection.connection.dbapi_connection
    if hasattr(dbapi, "begin"):  # `VisitedConnection`, which migrations have no use for
        dbapi.begin(sql)
    else:
        in_one_hop(connection, sql)


def at_commit(connection: Connection, work: Work, rows: list[Any]) -> None:
    """Do some work before a COMMIT that comes next, and add its rows to `rows`."""
    dbapi: Any = connection.connection.dbapi_connection
    if hasattr(dbapi, "at_commit"):
        dbapi.at_commit(work, rows)
    else:
        rows.extend(work(partial(in_one_hop, connection)))


def code(error: DBAPIError) -> int | None:
    """SQLite's primary result code (SQLite "Result and Error Codes")."""
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def open_or_close(
    dialect: Dialect, _: ConnectionPoolEntry, args: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Open a connection of aiosqlite's; where that is cancelled, close it.

    aiosqlite (0.22.1, `Connection._connect`) forgets a connection whose opening is cancelled: its
    thread opens it, and only the garbage collector closes it, of which Python 3.13 warns.
    """
    return await_(_opened(greenlet_spawn(partial(dialect.connect, *args, **options))))


async def _opened(connection: Awaitable[DBAPIConnection]) -> DBAPIConnection:
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])  # as long as SQLite takes to open a file
        if not opening.cancelled() and not opening.exception():
            await greenlet_spawn(opening.result().close)
        raise


def run_script(connection: DBAPIConnection, script: str) -> None:
    """Set up a connection of aiosqlite's, in a single visit to its thread.

    If that fails the connection is closed, which SQLAlchemy leaves to the garbage collector: its
    thread would outlive the event loop.
    """
    try:
        connection.run_async(lambda driver: driver.executescript(script))
    except sqlite3.Error:
        connection.close()
        raise


def in_one_hop(connection: Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
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
