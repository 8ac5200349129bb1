"""Control over the embedded replicas of a running `Database`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from orm.database import Database
from orm.exceptions import ConfigurationError
from orm.replication import Replicator
from orm.watcher import Server

__all__ = ["ReplicaControl", "caught_up", "paused", "replicas"]


class ReplicaControl:
    """One embedded replica, in a test's hand."""

    def __init__(self, database: Database, server: Server, replicator: Replicator) -> None:
        self._database = database
        self._server = server
        self._replicator = replicator

    @property
    def name(self) -> str:
        """As in `Route.server`: ``"replica-1"``, …"""
        return self._server.name

    @property
    def file(self) -> Path:
        """The path that readers open."""
        return self._replicator.replica

    @property
    def lag(self) -> float:
        """Seconds by which the replica follows the primary; settable at any time."""
        return self._replicator.lag

    @lag.setter
    def lag(self, seconds: float) -> None:
        self._replicator.lag = seconds

    async def pause(self) -> None:
        """Return when nothing more lands in the replica until `resume`."""
        await asyncio.to_thread(self._replicator.pause)

    async def resume(self) -> None:
        """Go on."""
        self._replicator.resume()

    async def kill(self) -> None:
        """Return when the replica is gone: it serves nobody, until `revive`."""
        await asyncio.to_thread(self._replicator.stop)
        self.file.unlink(missing_ok=True)
        while self._server.knowledge.error is None:  # an open connection finds out a moment later
            await self._server.probe()
            await asyncio.sleep(0.01)

    async def revive(self) -> None:
        """Return when there is a replica again: a new copy, with the lag that was set."""
        await asyncio.to_thread(self._replicator.start)
        await self._server.probe()

    async def caught_up(self, within: float = 10.0) -> None:
        """Return when the replica has all that the primary has at this moment.

        Args:
            within: seconds.

        Raises:
            TimeoutError: it did not.
        """
        cluster = self._database.cluster
        await cluster.primary.probe()
        head = cluster.primary.knowledge.at
        assert head is not None, cluster.primary.knowledge.error
        await cluster.watcher.wait(head, [self._server], within)
        if not self._server.covers(head):
            raise TimeoutError(f"{self.name} has not caught up within {within:g} s")


def replicas(database: Database) -> list[ReplicaControl]:
    """The embedded replicas of a database, in order.

    Raises:
        ConfigurationError: it has none.
    """
    servers: Sequence[Server] = database.cluster.replicas
    if not database.replicators:
        raise ConfigurationError("this Database has no embedded replicas: give replicas=<number>")
    return [
        ReplicaControl(database, server, replicator)
        for server, replicator in zip(servers, database.replicators, strict=True)
    ]


async def caught_up(database: Database, within: float = 10.0) -> None:
    """Return when all replicas have all that the primary has at this moment.

    Args:
        within: seconds.

    Raises:
        TimeoutError: one of them did not.
    """
    for replica in replicas(database):
        await replica.caught_up(within)


@asynccontextmanager
async def paused(database: Database) -> AsyncIterator[list[ReplicaControl]]:
    """All replicas stand still inside the block, and go on after it."""
    async with AsyncExitStack() as stack:
        controls = replicas(database)
        for replica in controls:
            await replica.pause()
            stack.push_async_callback(replica.resume)
        yield controls
