"""Engines whose transactions read one snapshot, over the pool of an engine in autocommit."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["snapshots_over"]


def snapshots_over(
    reader: AsyncEngine, begin: Callable[[Connection], None], end: Callable[[Connection], None]
) -> Engine:
    """An engine over the pool of a reader engine, with transactions that are begun here.

    SQLAlchemy's own way, to set the isolation for one transaction, would lose connections: its pool
    loses one if it is cancelled meanwhile or, for good, while the isolation is being reset.

    Args:
        reader: the engine, whose connections are in autocommit.
        begin: begins a transaction that reads one snapshot.
        end: ends it.
    """
    engine = reader.sync_engine.execution_options()
    event.listen(engine, "begin", begin)
    event.listen(engine, "rollback", end)
    return engine
