"""SQLite: one migration at a time, on a connection that a table rebuild cannot cascade through."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event

from orm._greenlet import await_, in_greenlet
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["migrating"]

_LOG: Final = logging.getLogger(__name__)
_POLL: Final = 0.02
"""Seconds between two tries for the lock."""


@contextmanager
def migrating(connection: Connection, file: Path, patience: float) -> Iterator[None]:
    """What `orm.backends.Backend.migrating` asks for.

    Args:
        connection: a migration's.
        file: the database.
        patience: seconds to wait for another run.

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
    with _lock(file, patience), _fit(connection):
        yield


def _driver(connection: Connection) -> Any:
    """The driver's connection: using it begins no transaction."""
    return connection.connection.dbapi_connection


def _foreign_keys(connection: Connection) -> bool:
    cursor = _driver(connection).cursor()
    try:
        cursor.execute("PRAGMA foreign_keys")
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
    return driver.in_transaction and not _foreign_keys(connection)


@contextmanager
def _fit(connection: Connection) -> Iterator[None]:
    """Foreign keys off, and transactions that hold DDL, until the end of the block."""
    driver = _driver(connection)
    enforced, level = _foreign_keys(connection), driver.isolation_level
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
    if in_greenlet():  # who holds the lock may be in this very event loop
        await_(asyncio.sleep(_POLL))
    else:
        time.sleep(_POLL)
