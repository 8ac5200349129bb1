"""The sessions that a statement waits for: PostgreSQL tells them to another connection only, and
only during the wait."""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["blockers", "watching"]

_LOG: Final = logging.getLogger(__name__)
_KEY: Final = "orm.postgresql.blocking"
_POLL: Final = 0.1
"""Seconds between two looks, and for which a statement has run before the first one."""

_BLOCKERS: Final = text("""\
SELECT b.pid, a.usename, a.application_name, a.state, a.query,
date_trunc('second', clock_timestamp() - a.xact_start)::text AS age
FROM pg_stat_activity w
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b
LEFT JOIN pg_stat_activity a ON a.pid = b.pid
WHERE w.pid = :pid AND w.wait_event_type = 'Lock'
ORDER BY a.xact_start""")
"""Asked only while the session waits: the function blocks the lock manager for a moment."""


@contextmanager
def watching(connection: Connection, pid: int) -> Iterator[None]:
    """For the length of the block, note the sessions that a connection's statements wait for.

    A second connection is made by the first statement that takes long, and by no other.

    Args:
        connection: whose statements.
        pid: its process on the server.
    """
    watch = _Watch(connection.engine, pid)
    info = connection.info  # of a connection that is lost, it could not be had afterwards
    info[_KEY] = watch
    event.listen(connection, "before_cursor_execute", watch.begins)
    event.listen(connection, "after_cursor_execute", watch.ends)
    thread = threading.Thread(target=watch.run, name="orm-blocking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        thread.join(1)  # a server that does not answer is no reason to wait
        event.remove(connection, "before_cursor_execute", watch.begins)
        event.remove(connection, "after_cursor_execute", watch.ends)
        info.pop(_KEY, None)


def blockers(connection: Connection) -> Sequence[Row[Any]]:
    """The sessions that the last statement on a connection was last seen to wait for."""
    watch: _Watch | None = connection.info.get(_KEY)
    return () if watch is None else watch.found


class _Watch:
    """A thread that watches the statements of a connection through another connection."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self.over = threading.Event()
        self.found: Sequence[Row[Any]] = ()
        self._pid = pid
        self._since: float | None = None
        # Made as the connection itself was, and beside its pool, which may have no other.
        self._engine = Engine(engine.pool.recreate(), engine.dialect, engine.url)

    def begins(self, *_: object) -> None:
        self.found = ()
        self._since = monotonic()

    def ends(self, *_: object) -> None:
        self._since = None

    def run(self) -> None:
        """Look at intervals, until the block has ended."""
        while not self._is_slow():
            if self.over.wait(_POLL):
                return
        try:
            if self._engine.dialect.is_async:
                asyncio.run(self._run_async())
            else:
                with self._engine.connect() as connection:
                    self._look(connection)
        except (DBAPIError, OSError) as error:  # the migration goes on without it
            _LOG.info("the sessions that a statement waits for will not be known: %s", error)
        finally:
            if not self._engine.dialect.is_async:
                self._engine.dispose()

    async def _run_async(self) -> None:
        engine = AsyncEngine(self._engine)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(self._look)
        finally:
            await engine.dispose()

    def _look(self, connection: Connection) -> None:
        # A transaction of its own for each look: CREATE INDEX CONCURRENTLY would wait for a longer.
        connection.execution_options(isolation_level="AUTOCOMMIT")
        while True:
            since = self._since
            if self._is_slow():
                found = connection.execute(_BLOCKERS, {"pid": self._pid}).all()
                if found and self._since == since:
                    self.found = found
            if self.over.wait(_POLL):
                return

    def _is_slow(self) -> bool:
        since = self._since
        return since is not None and monotonic() - since >= _POLL
