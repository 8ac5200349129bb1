"""Probes: a server is asked where it is, on a connection of their own, and given up in time."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import URL, Connection

from orm.backends import Backend
from orm.servers.connections import Connections
from orm.servers.patience import GaveUp, in_time
from orm.servers.timing import PROBE, Limits

__all__ = ["Probes"]

_T = TypeVar("_T")


class Probes:
    """The questions to one server that no session asks.

    They have a pool of their own: a server whose pool is in use can still be asked.

    Args:
        backend: its engine family.
        url: where it is.
        shared: whether each transaction may be on another server behind the URL.
        limits: how long it may take to connect, and to answer.
        options: what the user gave for the engines that serve sessions.
    """

    def __init__(
        self,
        backend: Backend,
        url: URL,
        shared: bool,
        limits: Limits,
        options: Mapping[str, Any],
    ) -> None:
        self._has_network = backend.network is not None
        self._limits = limits
        self._connections = Connections(backend.network, limits)
        alike = {k: v for k, v in options.items() if not k.startswith(("pool", "max_overflow"))}
        self._engine = backend.reader_engine(
            url, shared=shared, **(alike | {"pool_size": 1, "max_overflow": 0})
        )
        self._connections.watch(self._engine, tries=False)

    async def ask(
        self,
        ask: Callable[[Connection], _T],
        *,
        connects: bool,
        lives: Callable[[float], bool],
    ) -> _T:
        """Ask the server.

        Args:
            ask: called with the connection.
            connects: whether the server has failed before, so that as a rule there is no
                connection.
            lives: whether it has answered a session since some time on the event loop's clock.

        Returns:
            What `ask` returned.

        Raises:
            GaveUp: the server is taken for dead.
            Exception: what `ask` or connecting raised.
        """
        if not self._has_network:
            return await in_time(self._ask(ask), PROBE)
        end, dead_after = self._connections.end, self._limits.dead_after
        if connects:
            return await in_time(self._ask(ask), self._limits.connect_timeout + dead_after, end)
        try:
            return await in_time(self._ask(ask), dead_after / 2, end, lives)
        except GaveUp:  # the connection may be dead, and not the server
            return await in_time(self._ask(ask), dead_after / 2, end, lives)

    async def _ask(self, ask: Callable[[Connection], _T]) -> _T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(ask)

    async def dispose(self) -> None:
        """Close the connection."""
        await self._engine.dispose()
