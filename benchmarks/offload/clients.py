"""Clients whose requests follow each other: ``python -m benchmarks.offload.clients --help``.

It is a program of its own, so that each way to use the servers runs in the environment that it
needs: advanced-alchemy does not run on SQLAlchemy 2.1.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Protocol

from sqlalchemy import Column, Integer, MetaData, Table, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

COUNTERS = Table(
    "counters",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("value", Integer, nullable=False),
)
STICKY = 2.0  # seconds on the primary after a write, as in Rails by default


@dataclass
class Client:
    """One client: what it has seen of each counter, and what it brings to its next request."""

    number: int
    seen: dict[int, int] = field(default_factory=dict)
    token: str | None = None
    wrote: float = -STICKY


class Way(Protocol):
    """A way to use a primary and its replicas. Each call is one request, with its own session."""

    async def write(self, client: Client) -> int: ...
    async def read(self, client: Client, key: int) -> int: ...


def raise_by_one(key: int) -> Any:
    raised = update(COUNTERS).where(COUNTERS.c.id == key).values(value=COUNTERS.c.value + 1)
    return raised.returning(COUNTERS.c.value)


def value_of(key: int) -> Any:
    return select(COUNTERS.c.value).where(COUNTERS.c.id == key)


class PrimaryOnly:
    """A plain session on the primary."""

    def __init__(self, stack: AsyncExitStack, urls: list[str]) -> None:
        self.primary = _engine(stack, urls[0])
        self.reader: Callable[[Client], AsyncEngine] = lambda _: self.primary

    async def write(self, client: Client) -> int:
        async with AsyncSession(self.primary) as session:
            value: int = (await session.scalars(raise_by_one(client.number))).one()
            await session.commit()
            return value

    async def read(self, client: Client, key: int) -> int:
        async with AsyncSession(self.reader(client)) as session:
            value: int = (await session.scalars(value_of(key))).one()
            return value


class RoundRobin(PrimaryOnly):
    """Reads go to the replicas in turn, in autocommit: they could not cost less."""

    def __init__(self, stack: AsyncExitStack, urls: list[str]) -> None:
        super().__init__(stack, urls)
        replicas = cycle([_engine(stack, url, **_AUTOCOMMIT) for url in urls[1:]])
        self.reader = lambda _: next(replicas)


class Sticky(RoundRobin):
    """The same, but for some time after a write a client reads from the primary."""

    def __init__(self, stack: AsyncExitStack, urls: list[str]) -> None:
        super().__init__(stack, urls)
        replica = self.reader

        def reader(client: Client) -> AsyncEngine:
            recent = time.monotonic() - client.wrote < STICKY
            return self.primary if recent else replica(client)

        self.reader = reader

    async def write(self, client: Client) -> int:
        value = await super().write(client)
        client.wrote = time.monotonic()
        return value


class AdvancedAlchemy:
    """`advanced_alchemy.routing` as it comes."""

    def __init__(self, _: AsyncExitStack, urls: list[str]) -> None:
        from advanced_alchemy.config.routing import RoutingConfig  # type: ignore[import-not-found]
        from advanced_alchemy.routing import (  # type: ignore[import-not-found]
            RoutingAsyncSessionMaker,
        )

        self.new = RoutingAsyncSessionMaker(
            RoutingConfig(primary_connection_string=urls[0], read_replicas=urls[1:])
        )

    async def write(self, client: Client) -> int:
        async with self.new() as session:
            value: int = (await session.scalars(raise_by_one(client.number))).one()
            await session.commit()
            return value

    async def read(self, client: Client, key: int) -> int:
        async with self.new() as session:
            value: int = (await session.scalars(value_of(key))).one()
            return value


class Bookmarks:
    """Ours: each request starts from the bookmark that the one before it handed out."""

    def __init__(self, stack: AsyncExitStack, urls: list[str]) -> None:
        from orm import Database

        # A server whose queue is long is not dead, here.
        self.db = Database(urls[0], replicas=urls[1:], dead_after=10)
        self.stack = stack

    async def start(self) -> None:
        await self.stack.enter_async_context(self.db)

    async def write(self, client: Client) -> int:
        async with self.db.session(client.token or "first-primary") as session:
            value: int = (await session.scalars(raise_by_one(client.number))).one()
            await session.commit()
            client.token = await session.bookmark()
            return value

    async def read(self, client: Client, key: int) -> int:
        async with self.db.session(client.token) as session:
            value: int = (await session.scalars(value_of(key))).one()
            client.token = await session.bookmark()
            return value


WAYS: dict[str, Callable[[AsyncExitStack, list[str]], Way]] = {
    "primary": PrimaryOnly,
    "round-robin": RoundRobin,
    "sticky": Sticky,
    "advanced-alchemy": AdvancedAlchemy,
    "bookmarks": Bookmarks,
}

_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}


def _engine(stack: AsyncExitStack, url: str, **options: Any) -> AsyncEngine:
    engine = create_async_engine(url, **options)
    stack.push_async_callback(engine.dispose)
    return engine


async def run(way: str, writes: float, clients: int, seconds: float, urls: list[str]) -> Any:
    """Let clients send requests, each as soon as the one before it is answered.

    Args:
        way: to use the servers.
        writes: the share of requests that write.
        clients: how many.
        seconds: how long.
        urls: the primary's, and the replicas'.

    Returns:
        The number of requests, the seconds that each took, and the number of stale reads.
    """
    took: list[float] = []
    stale = 0

    async def chain(client: Client, chance: random.Random, until: float) -> None:
        nonlocal stale
        while (began := time.perf_counter()) < until:
            if chance.random() < writes:
                client.seen[client.number] = await used.write(client)
            else:
                # Its own counter, or one that other clients raise.
                key = chance.choice([client.number, chance.randrange(clients)])
                value = await used.read(client, key)
                stale += value < client.seen.get(key, 0)
                client.seen[key] = max(value, client.seen.get(key, 0))
            took.append(time.perf_counter() - began)

    async with AsyncExitStack() as stack:
        used = WAYS[way](stack, urls)
        if isinstance(used, Bookmarks):
            await used.start()
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(chain(Client(number), random.Random(number), until))
    return {"seconds": took, "stale": stale}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--writes", type=float, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("urls", nargs="+")
    given = parser.parse_args()
    outcome = run(given.way, given.writes, given.clients, given.seconds, given.urls)
    print(json.dumps(asyncio.run(outcome)))
