"""The sqlite3 module below SQLAlchemy, in a thread of aiosqlite's or not."""

import asyncio
import sqlite3
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError

__all__ = ["code", "in_one_hop", "in_our_hands", "run_script"]


def in_our_hands(options: dict[str, Any]) -> dict[str, Any]:
    """Engine options with which the driver never begins a transaction by itself."""
    arguments = options.get("connect_args", {}) | {"isolation_level": None}
    return options | {"connect_args": arguments}


def code(error: DBAPIError) -> int | None:
    """SQLite's primary result code (SQLite "Result and Error Codes")."""
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


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
