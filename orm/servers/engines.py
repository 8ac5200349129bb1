"""The engines of one server that sessions use: for reads, for snapshots, for writes."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from orm.backends import Backend
from orm.servers.connections import Connections
from orm.servers.timing import WAIT_FOR_PRIMARY, Limits

__all__ = ["Engines"]

_POOL_SIZE: Final = {"pool_size": 15, "max_overflow": 0, "pool_use_lifo": True}
"""As many connections as SQLAlchemy's pools may have. Those close ten of them each time that they
come back, and to connect anew takes a server longer than some tens of reads. The latest that came
back is used first: then it need not be tried before it is used (`IDLE`)."""


class Engines:
    """The engines that sessions use on one server.

    Args:
        backend: its engine family.
        url: where it is.
        shared: whether each transaction may be on another server behind the URL.
        limits: how long it may take to connect, and to answer.
        patience: seconds that a read waits for a connection, if the user has not said.
        options: what the user gave for these engines.
    """

    def __init__(
        self,
        backend: Backend,
        url: URL,
        shared: bool,
        limits: Limits,
        patience: float,
        options: Mapping[str, Any],
    ) -> None:
        self._backend = backend
        self._url = url
        self._shared = shared
        self._options = options
        self._writer: AsyncEngine | None = None
        self.connections: Connections = Connections(backend.network, limits)
        """Those of all these engines."""
        self.reader: AsyncEngine = backend.reader_engine(
            url, shared=shared, **self._pooled(patience)
        )
        self.connections.watch(self.reader)
        self.snapshots: Engine = backend.snapshot_engine(self.reader)

    def _pooled(self, patience: float) -> Mapping[str, Any]:
        """The options, with what a pool does if the user has not said."""
        given = self._options
        if self._backend.network is None or not issubclass(
            given.get("poolclass", QueuePool), QueuePool
        ):
            return given
        size = {} if given.keys() & {"pool_size", "max_overflow"} else _POOL_SIZE
        return {"pool_timeout": patience, **size, **given}

    @property
    def writer(self) -> AsyncEngine:
        """For transactions that may write; made when the server is first the primary."""
        if self._writer is None:
            self._writer = self._backend.writer_engine(
                self._url, shared=self._shared, **self._pooled(WAIT_FOR_PRIMARY)
            )
            self.connections.watch(self._writer)
        return self._writer

    def is_writer_of(self, connection: Connection) -> bool:
        """Whether a connection was taken from `writer`."""
        return self._writer is not None and connection.engine is self._writer.sync_engine

    @property
    def in_use(self) -> int:
        """How many connections sessions read on; 0 if the pool does not count them."""
        in_use: int = getattr(self.reader.pool, "checkedout", int)()
        return in_use

    async def dispose(self) -> None:
        """Close all idle connections."""
        for engine in (self.reader, self._writer):
            if engine is not None:
                await engine.dispose()
