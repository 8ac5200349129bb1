"""Engines for each purpose."""

import re
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from orm.backends.pool import FairPool
from orm.backends.postgresql.driver import (
    arguments,
    in_transaction,
    is_closed,
    is_outdated,
    translate_stream,
    understood,
    unprepared,
)
from orm.backends.postgresql.position import UNSURE, identify
from orm.backends.snapshots import snapshots_over

__all__ = ["is_idle", "reader_engine", "shared_reader_engine", "snapshot_engine", "writer_engine"]

_NO_SETTINGS: Final = "unsupported startup parameter"
_STREAMS: Final = "orm.postgresql.streams"

# Savepoints aside, all that can end a transaction (PostgreSQL "SQL Commands"), or hide it.
_MAY_END: Final = re.compile(
    r"\s*((ABORT|CALL|COMMIT|DO|END|PREPARE|ROLLBACK(?!.*\bTO\b))\b|--|/\*)|.*;",
    re.IGNORECASE | re.DOTALL,
)
_SETTINGS: Final = ("synchronous_commit", "set_config")


def _pool(url: URL) -> dict[str, Any]:
    reset = {"pool_reset_on_return": None}  # `_reset` does it
    if url.get_driver_name() == "asyncpg":
        from orm.backends.postgresql.asyncpg_pool import AsyncpgPool

        return reset | {"poolclass": AsyncpgPool}
    return reset | {"poolclass": FairPool}


def writer_engine(url: URL, **options: Any) -> AsyncEngine:
    """For transactions that may write."""
    url, options = understood(url, options)
    given = arguments(url, options)
    given = _pool(url) | given
    if url.get_driver_name() == "psycopg":
        from orm.backends.postgresql.one_trip import SamplingConnection

        given["connect_args"].setdefault("async_creator_fn", SamplingConnection.connect)
    engine = create_async_engine(url, **given)
    _prepare(engine)
    event.listen(engine.sync_engine, "do_execute", _note_doubts)
    event.listen(engine.sync_engine, "do_execute_no_params", _note_doubts)
    return engine


def shared_writer_engine(url: URL, **options: Any) -> AsyncEngine:
    """For transactions that may write, each of which may be on another connection."""
    url, options = understood(url, options)
    given = arguments(url, unprepared(url, options))
    engine = create_async_engine(url, **(_pool(url) | given))
    _mend(engine)
    return engine


def reader_engine(url: URL, **options: Any) -> AsyncEngine:
    """Read-only and in autocommit: each statement sees what is committed when it begins."""
    url, options = understood(url, options)
    readers = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    given = arguments(url, options, default_transaction_read_only="on")
    engine = create_async_engine(url, **(_pool(url) | given | readers))
    _prepare(engine)
    return engine


def shared_reader_engine(url: URL, **options: Any) -> AsyncEngine:
    """Read-only transactions, each of which may be on another server, and stays there.

    Poolers refuse settings that a connection begins with, and with REPEATABLE READ a position that
    is asked first would be later than what the transaction then sees.
    """
    given: dict[str, Any] = options.get("execution_options", {})
    said = {key: given[key] for key in given if key != "isolation_level"}
    readers = {
        "isolation_level": "READ COMMITTED",
        "execution_options": said | {"postgresql_readonly": True},
    }
    return shared_writer_engine(url, **(options | readers))


def snapshot_engine(reader: AsyncEngine) -> Engine:
    """Over the pool of a reader engine, with transactions that read one snapshot."""
    return snapshots_over(reader, _begin_snapshot, _end_snapshot)


def _begin_snapshot(connection: Connection) -> None:
    begin = "BEGIN" if _is_in_autocommit(connection) else "SET TRANSACTION"
    connection.exec_driver_sql(f"{begin} ISOLATION LEVEL REPEATABLE READ")


def _end_snapshot(connection: Connection) -> None:
    # The dialect skips the ROLLBACK of a connection that it takes to have nothing to end.
    if not connection.invalidated and _is_in_autocommit(connection):
        connection.exec_driver_sql("ROLLBACK")


def _is_in_autocommit(connection: Connection) -> bool:
    dbapi: Any = connection.connection.dbapi_connection
    return bool(dbapi.autocommit)


def is_idle(connection: Connection) -> bool:
    """Whether `_reset` has nothing to end."""
    return not in_transaction(connection.connection)


def _note_doubts(cursor: Any, statement: str, *parameters_and_context: Any) -> None:
    # After COMMIT the server does not tell any more how it was made, nor whether the session wrote
    # in this transaction or in one that a statement has ended before.
    if any(setting in statement for setting in _SETTINGS) or _MAY_END.match(statement):
        context: ExecutionContext = parameters_and_context[-1]
        context.root_connection.info[UNSURE] = True


def _prepare(engine: AsyncEngine) -> None:
    event.listen(engine.sync_engine, "connect", identify)
    _mend(engine)


def _mend(engine: AsyncEngine) -> None:
    """Add to errors what to do, and end streams with their connection."""
    sync = engine.sync_engine
    event.listen(sync, "handle_error", _explain)
    event.listen(sync, "do_execute", _begin_stream)
    event.listen(sync, "do_execute_no_params", _begin_stream)
    event.listen(sync, "reset", _reset)


def _begin_stream(cursor: Any, *statement_and_context: Any) -> None:
    if not cursor.server_side:
        return
    context: ExecutionContext = statement_and_context[-1]
    root = context.root_connection
    root.info.setdefault(_STREAMS, []).append(cursor)
    if not event.contains(root, "after_cursor_execute", translate_stream):
        event.listen(root, "after_cursor_execute", translate_stream)
    connection: Any = root.connection.dbapi_connection
    # A cursor on the server lives in a transaction (PostgreSQL "DECLARE").
    if connection.autocommit and not in_transaction(connection):
        _execute(connection, "BEGIN")


def _reset(connection: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    streams = record.info.pop(_STREAMS, ())
    if not state.asyncio_safe:  # the connection will not be used again
        return
    if is_closed(connection):
        record.invalidate()  # it was cut off
        return
    if not connection.autocommit:
        if streams or not state.transaction_was_reset:
            connection.rollback()
    elif in_transaction(connection):  # SQLAlchemy takes it to have nothing to end
        _execute(connection, "ROLLBACK")
    for cursor in streams:  # after that: one that was cut off may not be there to be closed
        cursor.close()


def _execute(connection: Any, statement: str) -> None:
    """Execute through a cursor, whose errors SQLAlchemy understands."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()


def _explain(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception and is_outdated(context.original_exception):
        context.sqlalchemy_exception.add_note(
            "The type of a column has changed since the statement was prepared on this connection. "
            "Try the transaction again."
        )
    if context.sqlalchemy_exception and _NO_SETTINGS in str(context.original_exception):
        context.sqlalchemy_exception.add_note("Is it a pooler? Say so: Database(…, shared=True)")
