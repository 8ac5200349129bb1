"""Control over the replicas of a running `Database`."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from orm.backends.sqlite.replication import Replicator
from orm.database import Database
from orm.exceptions import ConfigurationError
from orm.servers.server import Server

__all__ = [
    "Follower",
    "Replica",
    "ReplicaControl",
    "Standby",
    "caught_up",
    "followers",
    "paused",
    "replicas",
]


class Follower(ABC):
    """One replica, controlled by a test."""

    def __init__(self, database: Database, server: Server) -> None:
        self._database = database
        self._server = server

    @property
    def name(self) -> str:
        """The name of its server (`Route.server`), such as ``"replica-1"``."""
        return self._server.name

    @abstractmethod
    async def pause(self) -> None:
        """Stop the replica; return when it replays nothing more until `resume`."""

    @abstractmethod
    async def resume(self) -> None:
        """Let the replica go on after `pause`."""

    async def caught_up(self, within: float = 30.0) -> None:
        """Return when the replica has all that the primary has at this moment.

        Args:
            within: seconds.

        Raises:
            TimeoutError: the replica is still behind after `within` seconds.
        """
        cluster = self._database.cluster
        await cluster.primary.probe()
        head = cluster.primary.knowledge.at
        assert head is not None, cluster.primary.knowledge.error
        await cluster.watcher.wait(head, [self._server], within)
        if not self._server.covers(head):
            raise TimeoutError(f"{self.name} has not caught up within {within:g} s")


class Standby(Follower):
    """A standby of PostgreSQL. Only a superuser may pause it, unless others were allowed to."""

    async def pause(self) -> None:
        await self._ask("SELECT pg_wal_replay_pause()")
        state = None
        while state != "paused":  # it is so within a record's time
            state = await self._ask("SELECT pg_get_wal_replay_pause_state()")

    async def resume(self) -> None:
        await self._ask("SELECT pg_wal_replay_resume()")

    async def _ask(self, query: str) -> Any:
        async with self._server.engine.connect() as connection:
            return (await connection.exec_driver_sql(query)).scalar()


class Replica(Follower):
    """A replica of MariaDB or MySQL; the account needs REPLICATION SLAVE ADMIN to pause it."""

    async def pause(self) -> None:
        await self._do("STOP REPLICA SQL_THREAD")

    async def resume(self) -> None:
        await self._do("START REPLICA SQL_THREAD")

    async def _do(self, statement: str) -> None:
        async with self._server.engine.connect() as connection:
            await connection.exec_driver_sql(statement)


class ReplicaControl(Follower):
    """An embedded replica, controlled by a test."""

    def __init__(self, database: Database, server: Server, replicator: Replicator) -> None:
        super().__init__(database, server)
        self._replicator = replicator

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
        """Stop the replica; return when it takes in nothing more until `resume`."""
        await asyncio.to_thread(self._replicator.pause)

    async def resume(self) -> None:
        """Let the replica go on after `pause`."""
        self._replicator.resume()

    async def kill(self) -> None:
        """Return when the replica is gone. It serves no session until `revive`."""
        await asyncio.to_thread(self._replicator.stop)
        self.file.unlink(missing_ok=True)
        while self._server.knowledge.error is None:  # an open connection finds out a moment later
            await self._server.probe()
            await asyncio.sleep(0.01)

    async def revive(self) -> None:
        """Return when there is a replica again: a new copy, with the lag that was set."""
        await asyncio.to_thread(self._replicator.start)
        await self._server.probe()


def replicas(database: Database) -> list[ReplicaControl]:
    """The embedded replicas of a database, in order.

    Raises:
        ConfigurationError: the database has no embedded replicas.
    """
    if not database.embedded:
        raise ConfigurationError("this Database has no embedded replicas: give replicas=<number>")
    pairs = zip(database.cluster.replicas, database.embedded, strict=True)
    return [
        ReplicaControl(database, server, replicator)
        for server, replicator in pairs
        if isinstance(replicator, Replicator)
    ]


def followers(database: Database) -> Sequence[Follower]:
    """The replicas of a database, in order, whatever its engine."""
    if database.embedded:
        return replicas(database)
    engine = database.cluster.primary.url.get_backend_name()
    kind = Standby if engine == "postgresql" else Replica
    return [kind(database, server) for server in database.cluster.replicas]


async def caught_up(database: Database, within: float = 30.0) -> None:
    """Return when all replicas have all that the primary has at this moment.

    Args:
        within: seconds.

    Raises:
        TimeoutError: a replica is still behind after `within` seconds.
    """
    for replica in followers(database):
        await replica.caught_up(within)


@asynccontextmanager
async def paused(database: Database) -> AsyncIterator[Sequence[Follower]]:
    """All replicas stand still inside the block, and go on after it."""
    async with AsyncExitStack() as stack:
        controls = followers(database)
        for replica in controls:
            await replica.pause()
            stack.push_async_callback(replica.resume)
        yield controls
