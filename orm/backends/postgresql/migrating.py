"""One migration of a PostgreSQL database at a time: its lock, and its settings."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql.blocking import watching
from orm.backends.turn import wait_for_turn
from orm.exceptions import MigrationError

__all__ = ["HOLDS", "KEY", "migrating"]

_POLL: Final = 0.05
"""Seconds between two tries for the lock."""

KEY: Final = {"high": 0x6F726D, "low": 0x6D696772}
"""Of the advisory lock, which is one of the database's; in ASCII it is ``orm`` and ``migr``."""
_TRY: Final = text("SELECT pg_try_advisory_lock(:high, :low)")
_TRY_FOR_TRANSACTION: Final = text("SELECT pg_try_advisory_xact_lock(:high, :low)")
_UNLOCK: Final = text("SELECT pg_advisory_unlock(:high, :low)")
_SELF: Final = text("SELECT pg_is_in_recovery() AS is_standby, pg_backend_pid() AS pid")
HOLDS: Final = """\
pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
AND l.classid = :high AND l.objid = :low
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
"""What follows ``FROM``, to find the session that has the lock; the parameters are `KEY`."""
_HOLDER: Final = text(f"""\
SELECT a.pid, a.application_name, a.usename, a.client_addr
FROM pg_stat_activity a WHERE a.pid IN (SELECT l.pid FROM {HOLDS})""")

_SETTINGS: Final = {
    # Every session that comes after one that waits for a lock waits, too, readers included. Set
    # another time by PostgreSQL's own means: ALTER ROLE … SET lock_timeout, or SET LOCAL in
    # the revision.
    "lock_timeout": ("0", "5s"),
    "application_name": ("", "orm migrations"),
    # The server notices within a minute that the machine of the lock's holder is gone.
    "tcp_keepalives_idle": (None, "30"),
    "tcp_keepalives_interval": (None, "10"),
    "tcp_keepalives_count": (None, "3"),
}
"""The value that stands for "not set" (None: any), and the one for migrations."""


@contextmanager
def migrating(connection: Connection, patience: float) -> Iterator[None]:
    """Hold the lock of the database's migrations (`orm.backends.Migrations.migrating`).

    The lock is an advisory one of the session, which ends with its process. It is asked for again
    and again: a statement that waits holds a snapshot, for whose end CREATE INDEX CONCURRENTLY in
    the other run would wait, and that is a deadlock.

    Raises:
        MigrationError: the server is a standby; or another process migrates for longer than
            `patience` seconds; in the caller's transaction, another process migrates at all.
    """
    if connection.in_transaction():
        if not connection.scalar(_TRY_FOR_TRANSACTION, KEY):
            raise MigrationError(
                f"{_holder(connection)} is migrating this database: apply when that is done, or "
                "hand the connection in before its transaction begins, to wait for it"
            )
        yield
        return
    with connection.begin():
        this = connection.execute(_SELF).one()
    if this.is_standby:
        raise MigrationError(
            "this server is a standby, which only replays what the primary does: apply there"
        )
    with (
        _in_transactions(connection),
        _locked(connection, patience),
        _set(connection),
        watching(connection, this.pid),
    ):
        yield


@contextmanager
def _in_transactions(connection: Connection) -> Iterator[None]:
    """End autocommit for the length of the block: with it half of a revision could stay."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    if not connection.dialect.detect_autocommit_setting(driver):
        yield
        return
    connection.execution_options(isolation_level="READ COMMITTED")
    try:
        yield
    finally:
        connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _locked(connection: Connection, patience: float) -> Iterator[None]:
    def holder() -> str:
        with connection.begin():  # it ends before the pause: see `_ask`
            return _holder(connection)

    take = partial(_ask, connection, _TRY)
    wait_for_turn(take, holder, "this database", patience, poll=_POLL)
    try:
        yield
    finally:
        if not connection.invalidated:  # else the lock ended with the connection
            connection.rollback()
            _ask(connection, _UNLOCK)


def _ask(connection: Connection, question: TextClause) -> bool:
    """Ask in a transaction of its own, so that between two questions there is no snapshot."""
    with connection.begin():
        return bool(connection.scalar(question, KEY))


def _holder(connection: Connection) -> str:
    row = connection.execute(_HOLDER, KEY).first()
    if row is None:  # it is done by now
        return "another process"
    where = f" at {row.client_addr}" if row.client_addr else ""
    return f"process {row.pid} of {row.usename}{where} ({row.application_name})"


@contextmanager
def _set(connection: Connection) -> Iterator[None]:
    """Set what is not set yet as migrations need it, and set it back afterwards."""
    ask = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
    change = text("""\
SELECT set_config(name, value, false)
FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS setting (name, value)""")
    with connection.begin():
        found = connection.execute(ask, {"names": list(_SETTINGS)})
        before = {name: value for name, value in found if _SETTINGS[name][0] in (None, value)}
        values = [_SETTINGS[name][1] for name in before]
        connection.execute(change, {"names": list(before), "values": values}).all()
    both = {"names": list(before), "values": list(before.values())}
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # what has failed says more; and it may have failed by that
            if not connection.invalidated:
                connection.rollback()
                connection.execute(change, both)
                connection.commit()
        raise
    connection.rollback()
    with connection.begin():
        connection.execute(change, both).all()
