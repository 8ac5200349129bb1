"""One migration of a SQLite database at a time: its lock, and a connection that is fit for it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event

from orm.backends.sqlite.files import file_of
from orm.backends.sqlite.pragmas import do, driver_of, says
from orm.backends.turn import wait_for_turn
from orm.exceptions import ConfigurationError

__all__ = ["locked", "migrating"]

_POLL: Final = 0.02
"""Seconds between two tries for the lock."""


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
    with nullcontext() if in_memory else locked(file_of(connection), patience), _fit(connection):
        yield


def _is_fit(connection: Connection) -> bool:
    """Whether a transaction that SQLAlchemy has begun is one for SQLite too, without cascades."""
    driver: Any = connection.connection.driver_connection
    return driver.in_transaction and not says(connection, "PRAGMA foreign_keys")


@contextmanager
def _fit(connection: Connection) -> Iterator[None]:
    """Foreign keys off, and transactions that hold DDL, until the end of the block."""
    driver = driver_of(connection)
    enforced, level = says(connection, "PRAGMA foreign_keys"), driver.isolation_level
    if enforced:
        # Outside of a transaction: inside it does nothing (SQLite "PRAGMA foreign_keys").
        do(connection, "PRAGMA foreign_keys = OFF")
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
            do(connection, "PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    do(connection, "BEGIN IMMEDIATE")


@contextmanager
def locked(file: Path, patience: float) -> Iterator[None]:
    """One at a time: the write lock of an empty database beside the file.

    The system frees it with the process, and it leaves the database's own lock to the revisions'
    transactions. (A home-made POSIX lock would be let go by the closing of any descriptor.)
    """
    name = file.with_name(f"{file.name}-migrating")
    with closing(sqlite3.connect(name, timeout=0, isolation_level=None)) as lock:
        lock.execute("PRAGMA journal_mode = OFF")  # nothing is ever written
        wait_for_turn(
            partial(_took, lock), lambda: "another process", str(file), patience, poll=_POLL
        )
        yield


def _took(lock: sqlite3.Connection) -> bool:
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True
