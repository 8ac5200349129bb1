"""Engines for each purpose."""

from typing import Any, Final

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm.backends.postgresql.driver import arguments
from orm.backends.postgresql.position import identify
from orm.exceptions import ConfigurationError

__all__ = ["reader_engine", "snapshot_engine", "writer_engine"]


def writer_engine(url: URL, **options: Any) -> AsyncEngine:
    """For transactions that may write."""
    engine = create_async_engine(url, **arguments(url, options))
    event.listen(engine.sync_engine, "connect", identify)
    event.listen(engine.sync_engine, "handle_error", _explain)
    event.listen(engine.sync_engine, "set_connection_execution_options", _refuse_autocommit)
    event.listen(engine.sync_engine, "set_engine_execution_options", _refuse_autocommit)
    return engine


def reader_engine(url: URL, **options: Any) -> AsyncEngine:
    """Read-only and in autocommit: each statement sees what is committed when it begins."""
    readers: Final = arguments(url, options, default_transaction_read_only="on")
    engine = create_async_engine(
        url, **(readers | {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True})
    )
    event.listen(engine.sync_engine, "connect", identify)
    event.listen(engine.sync_engine, "handle_error", _explain)
    return engine


def snapshot_engine(reader: AsyncEngine) -> Engine:
    """Over the pool of a reader engine, with transactions that read one snapshot."""
    return reader.sync_engine.execution_options(isolation_level="REPEATABLE READ")


def _refuse_autocommit(_: Any, options: dict[str, Any]) -> None:
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise ConfigurationError(
            "AUTOCOMMIT on the primary would write past the position that bookmarks rest on: "
            "use a transaction, or a connection of your own for what cannot run in one"
        )


def _explain(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception and "does not exist" in str(context.original_exception):
        context.sqlalchemy_exception.add_note(
            "Has this database been migrated? Run: orm migrations apply"
        )
