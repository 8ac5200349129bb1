"""The connections to one server: none is made, or tried, without an end; all end with the server.

Drivers wait for ever for a server that stopped answering (a frozen process, a network that swallows
everything). The watcher finds out; the connections are cut off here, and what was in flight on them
fails at once, as if the server had closed them.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from orm._greenlet import await_, greenlet_spawn
from orm.backends import Network
from orm.servers.timing import FORGOTTEN, IDLE, Limits

__all__ = ["Connections"]

_T = TypeVar("_T")

_RETURNED: Final = "orm.returned"

_CUT_OFF: Final = (
    "The connection was cut off: {}. If it was in COMMIT, the transaction may have been committed."
)


class Connections:
    """Connections to one server, of one engine or several.

    Args:
        network: how they are cut off; None if no network leads to the server. Then nothing is done.
        limits: how long it may take to make one, and for one that was idle to answer.
    """

    def __init__(self, network: Network | None, limits: Limits) -> None:
        self._network = network
        self._connect_timeout = limits.connect_timeout
        self._dead_after = limits.dead_after
        self._making: dict[asyncio.Timeout, None] = {}
        self._made: dict[DBAPIConnection, asyncio.TimerHandle] = {}
        """All that are open; with each the end of its handshake, which may be over."""
        self._dead: str | None = None

    def watch(self, engine: AsyncEngine, *, tries: bool = True) -> None:
        """Have the connections of an engine be among them.

        Args:
            engine: to this server.
            tries: whether one that was idle is tried before it is used.
        """
        if self._network is None:
            return
        sync = engine.sync_engine
        event.listen(sync, "do_connect", self._connect)
        event.listen(sync, "connect", self._connected)
        if tries:
            event.listen(sync, "checkin", self._returned)
            event.listen(sync, "checkout", partial(self._checked_out, sync.dialect))
        for ending in ("close", "close_detached"):
            event.listen(sync, ending, self._closed)
        event.listen(sync, "handle_error", self._explain)

    def cut_off(self, why: str) -> None:
        """End all connections, and make none before `restore`: the server is dead.

        Args:
            why: for people.
        """
        self._dead = why
        self.end()

    def end(self) -> None:
        """End all connections at once, as if the server had closed them. No I/O."""
        now = asyncio.get_running_loop().time()
        for scope in self._making:
            if not scope.expired():  # then it ends by itself, and cannot be changed any more
                scope.reschedule(now)
        for connection in list(self._made):
            self._hang_up(connection)

    def restore(self) -> None:
        """The server answers."""
        self._dead = None

    # -------------------------------------------------------------------------------------------

    def _connect(
        self,
        dialect: Dialect,
        _: ConnectionPoolEntry,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> DBAPIConnection:
        if self._dead is not None:
            raise TimeoutError(self._dead)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._connect_timeout
        made = await_(self._in_time(greenlet_spawn(partial(dialect.connect, *args, **options))))
        self._made[made] = loop.call_at(until, self._hang_up, made)
        return made

    async def _in_time(self, connecting: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._connect_timeout) as scope:
                self._making[scope] = None
                try:
                    return await connecting
                finally:
                    del self._making[scope]
        except TimeoutError as error:
            late = f"it took more than {self._connect_timeout:g} s to connect"
            raise TimeoutError(self._dead or str(error) or late) from None

    def _connected(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        """The last listener: the handshake is over."""
        if connection in self._made:
            self._made[connection].cancel()

    def _closed(self, connection: DBAPIConnection, *_: object) -> None:
        if connection in self._made:
            self._made.pop(connection).cancel()

    def _hang_up(self, connection: DBAPIConnection) -> None:
        self._closed(connection)
        if self._network is not None:
            self._network.hang_up(connection)

    def _returned(self, _: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        try:
            record.info[_RETURNED] = asyncio.get_running_loop().time()
        except RuntimeError:  # it is collected as garbage, after the loop has ended
            return

    def _checked_out(
        self, dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _: Any
    ) -> None:
        """Drop a connection that ended while it was idle, and all that are as old as that."""
        if connection not in self._made:
            raise InvalidatePoolError("it was cut off")
        loop = asyncio.get_running_loop()
        now = loop.time()
        idle = now - record.info.get(_RETURNED, now)
        if idle < IDLE:
            return
        if idle > FORGOTTEN:
            raise DisconnectionError("a firewall may have forgotten it")
        end = loop.call_later(self._dead_after, self._hang_up, connection)
        try:
            dialect.do_ping(connection)
        except (dialect.loaded_dbapi.Error, OSError) as error:
            raise InvalidatePoolError("it died while it was idle") from error
        finally:
            end.cancel()

    def _explain(self, context: ExceptionContext) -> None:
        if self._dead is not None and context.is_disconnect and context.sqlalchemy_exception:
            context.sqlalchemy_exception.add_note(_CUT_OFF.format(self._dead))
