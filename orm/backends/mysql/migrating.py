"""One migration of a MariaDB or MySQL database at a time: its lock, and its settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["holds_lock", "locked", "migrating"]

_LOG: Final = logging.getLogger(__name__)

_LOCK_WAIT: Final = 5
"""Seconds: all other sessions wait behind an ALTER that waits, and for a day or a year by default.
"""
_STRICT: Final = "STRICT_ALL_TABLES"
"""Without it a value that does not fit is cut, and not refused."""
_SLICE: Final = 5
"""Seconds of waiting in one statement; the server notices after it that a client is gone."""
_LONGEST_NAME: Final = 64
_LOCK: Final = "orm.mysql.lock"


@contextmanager
def migrating(connection: Connection, patience: float) -> Iterator[None]:
    """Hold the lock of the database's migrations (`orm.backends.Migrations.migrating`).

    It is the connection's. The server frees it once the connection is gone, and the statement has
    ended that was running there: an ALTER goes on without its client.

    Raises:
        ConfigurationError: the connection is in a transaction, which the first DDL would commit.
        MigrationError: the server is read-only; or another process migrates for longer than
            `patience` seconds.
    """
    if connection.in_transaction():
        raise ConfigurationError(
            "the connection that was handed in is inside a transaction, which MariaDB and MySQL "
            "commit at the first CREATE or ALTER: hand it in before its transaction begins"
        )
    with connection.begin():
        standby, wait, mode = connection.execute(
            text("SELECT @@global.read_only, @@session.lock_wait_timeout, @@session.sql_mode")
        ).one()
    if standby:
        raise MigrationError(
            "this server is read-only, as a replica is, which does what the primary does: apply "
            "there"
        )
    with locked(connection, patience):
        _set(connection, min(wait, _LOCK_WAIT), f"{mode},{_STRICT}")
        try:
            yield
        finally:
            with suppress(DBAPIError):  # what has failed says more
                _set(connection, wait, mode)


def _set(connection: Connection, wait: int, mode: str) -> None:
    if not connection.invalidated:
        connection.rollback()
        with connection.begin():
            connection.execute(
                text("SET SESSION lock_wait_timeout = :wait, sql_mode = :mode"),
                {"wait": wait, "mode": mode},
            )


def _lock_of(database: str) -> str:
    """The name of a lock is the server's, so it has that of the database in it."""
    name = f"orm_migrations_{database}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"orm_migrations_{sha256(database.encode()).hexdigest()[:40]}"


@contextmanager
def locked(connection: Connection, patience: float) -> Iterator[None]:
    """Hold the lock of a database's migrations for the length of the block.

    Args:
        connection: to the database.
        patience: seconds to wait for the process that has it.

    Raises:
        MigrationError: that process has it for longer.
    """
    with connection.begin():
        lock = _lock_of(str(connection.scalar(text("SELECT DATABASE()"))))
        _take(connection, lock, patience)
    connection.info[_LOCK] = lock
    try:
        yield
    finally:
        if not connection.invalidated:  # else the lock ended with the connection
            with suppress(DBAPIError):
                connection.rollback()
                with connection.begin():
                    connection.execute(text("DO RELEASE_LOCK(:lock)"), {"lock": lock})


def _take(connection: Connection, lock: str, patience: float) -> None:
    take = text("SELECT GET_LOCK(:lock, :seconds)")
    seconds = 0.0
    while not connection.scalar(take, {"lock": lock, "seconds": seconds}):
        holder = connection.scalar(text("SELECT IS_USED_LOCK(:lock)"), {"lock": lock})
        who = "another process" if holder is None else f"the connection {holder} of the server"
        if patience <= 0:
            raise MigrationError(
                f"{who} is migrating this database, and was not done in time: apply again when it "
                "is"
            )
        if not seconds:
            _LOG.warning("%s is migrating this database: waiting for it", who)
        seconds = min(patience, _SLICE)
        patience -= seconds


def holds_lock(connection: Connection) -> bool:
    """Whether a connection still holds the lock that it took in `locked`."""
    held = text("SELECT IS_USED_LOCK(:lock) <=> CONNECTION_ID()")
    return bool(connection.scalar(held, {"lock": connection.info[_LOCK]}))
