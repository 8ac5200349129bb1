"""Engines for each purpose."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from orm.backends.mysql.driver import arguments, in_transaction, is_streaming
from orm.backends.mysql.state import identify
from orm.backends.pool import FairPool
from orm.backends.snapshots import snapshots_over
from orm.exceptions import ConfigurationError

__all__ = ["is_idle", "reader_engine", "refuse_shared", "snapshot_engine", "writer_engine"]


def writer_engine(url: URL, **options: Any) -> AsyncEngine:
    """For transactions that may write."""
    return _engine(url, arguments(url, options, tracks=True), writes=True)


def reader_engine(url: URL, **options: Any) -> AsyncEngine:
    """Read-only and in autocommit: each statement sees what is committed when it begins."""
    readers = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    return _engine(url, arguments(url, options) | readers, writes=False)


def _engine(url: URL, options: dict[str, Any], *, writes: bool) -> AsyncEngine:
    given = {"poolclass": FairPool} | options | {"pool_reset_on_return": None}
    engine = create_async_engine(url, **given)
    event.listen(engine.sync_engine, "connect", identify(writes=writes))
    event.listen(engine.sync_engine, "reset", _roll_back if writes else _end_reading)
    return engine


def is_idle(connection: Connection) -> bool:
    """Whether `_end_reading` has nothing to end."""
    driver: Any = connection.connection.driver_connection
    return not is_streaming(driver) and not in_transaction(driver)


def _roll_back(connection: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    # Whether a transaction is open is not known after an error.
    _end(connection, record, state, open_=True)


def _end_reading(connection: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    _end(connection, record, state, open_=in_transaction(connection.driver_connection))


def _end(
    connection: Any, record: ConnectionPoolEntry, state: PoolResetState, *, open_: bool
) -> None:
    if not state.asyncio_safe:  # the connection will not be used again
        return
    if is_streaming(connection.driver_connection):
        record.invalidate()  # else all rows that are left would be read first
    elif open_ and not state.transaction_was_reset:
        connection.rollback()


def snapshot_engine(reader: AsyncEngine) -> Engine:
    """Over the pool of a reader engine, with transactions that read one snapshot."""
    return snapshots_over(reader, _begin_snapshot, _end_snapshot)


def refuse_shared(url: URL) -> None:
    """Refuse poolers.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        f"shared=True is not supported for {url.get_backend_name()}: give each server's own URL"
    )


def _begin_snapshot(connection: Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.exec_driver_sql("START TRANSACTION READ ONLY")


def _end_snapshot(connection: Connection) -> None:
    # The dialect skips the ROLLBACK of a connection that it takes to have nothing to end.
    if not connection.invalidated:
        connection.exec_driver_sql("ROLLBACK")
