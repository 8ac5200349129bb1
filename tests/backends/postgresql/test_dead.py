"""A server that stops answering: no read waits for it, and a write says so soon.

How soon is tried in virtual time (`tests/simulation/test_dead.py`): here a machine may be busy.
Without what is tried here, all of it would take for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import BookmarkSession, Database
from orm.exceptions import NoPrimary
from orm.testing.postgresql import Cluster, Proxy, Server
from tests.conftest import over

ALL = select(User.email)
SLOW = select(User.email, text("pg_sleep(60)::text")).execution_options(route="read")


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    return postgresql_cluster


class Servers:
    """A primary and two standbys, each behind a network of its own, and a row in them."""

    def __init__(self, cluster: Cluster, driver: str, proxies: dict[Server, Proxy]) -> None:
        self.cluster = cluster
        self.proxies = proxies
        self._driver = driver

    def database(self, **options) -> Database:
        primary, *replicas = (
            proxy.url(server.url(self._driver)) for server, proxy in self.proxies.items()
        )
        return over(primary, replicas, **{"dead_after": 1.0} | options)


@pytest.fixture
async def servers(cluster: Cluster, driver: str) -> AsyncIterator[Servers]:
    async with Database(cluster.primary.url(driver)) as db:
        async with db.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        async with db.begin() as session:
            session.add(User(email="ada"))
    cluster.caught_up()
    async with (
        Proxy(cluster.primary.port) as primary,
        Proxy(cluster.standbys[0].port) as one,
        Proxy(cluster.standbys[1].port) as two,
    ):
        proxies = dict(zip((cluster.primary, *cluster.standbys), (primary, one, two), strict=True))
        yield Servers(cluster, driver, proxies)


async def freeze(servers: Servers, server: Server) -> None:
    await asyncio.to_thread(server.freeze)


async def black_hole(servers: Servers, server: Server) -> None:
    servers.proxies[server].black_hole()


FAULTS = [freeze, black_hole]
Fault = Callable[[Servers, Server], Awaitable[None]]


SOON = 30.0  # seconds


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_status_of_a_dead_server_takes_no_longer_than_to_find_that_out(
    servers: Servers, fault: Fault
) -> None:
    async with servers.database(connect_timeout=600.0) as db:
        await fault(servers, servers.cluster.standbys[0])
        async with asyncio.timeout(SOON):
            await db.status()  # if not the watcher, it finds that out
            told = await db.status()  # the watcher connects meanwhile
    assert [one.error is None for one in told] == [True, False, True]
    assert "has not answered" in str(told[1].error)
    assert told[1].age is not None


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_read_waits_for_a_server_that_does_not_answer(
    servers: Servers, fault: Fault
) -> None:
    """Reads go on, ten a second, while one of the servers that they go to stops answering."""
    times: list[float] = []

    async def read(db: Database) -> str:
        began = monotonic()
        async with db.session() as session:
            assert (await session.scalars(ALL)).all() == ["ada"]
            assert session.last_route is not None
        times.append(monotonic() - began)
        return session.last_route.server

    async with servers.database() as db, asyncio.TaskGroup() as group:
        await asyncio.gather(*(read(db) for _ in range(10)))
        await fault(servers, servers.cluster.standbys[0])
        async with asyncio.timeout(SOON):
            while not any(s.error for s in db.last_status()):
                group.create_task(read(db))
                await asyncio.sleep(0.1)  # no faster, or all connections are in use
        served = await asyncio.gather(*(read(db) for _ in range(10)))
        assert "replica-1" not in served
    assert max(times) < SOON, sorted(times)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_read_in_flight_is_cut_off_and_served_elsewhere(
    servers: Servers, fault: Fault
) -> None:
    """Every server sleeps in it; only the one that is dead does so in vain."""
    async with servers.database(max_wait=SOON) as db, db.session() as session:
        reading = asyncio.create_task(session.execute(SLOW))
        busy = "SELECT 1 FROM pg_stat_activity WHERE query ~ '[p]g_sleep'"

        def reader() -> Server | None:
            return next((s for s in servers.cluster.standbys if s.sql(busy) == ["1"]), None)

        while (server := await asyncio.to_thread(reader)) is None:
            pass
        await fault(servers, server)
        async with asyncio.timeout(SOON):
            while not any(s.error for s in await db.status()):
                pass
            others = [s for s in servers.proxies if s is not server]
            while not any([await asyncio.to_thread(other.sql, busy) for other in others]):
                pass
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_write_on_a_primary_that_does_not_answer_ends_and_says_why(
    servers: Servers, fault: Fault
) -> None:
    primary = servers.cluster.primary
    async with servers.database() as db:
        async with db.session() as session:
            session.add(User(email="bob"))
            await session.flush()
            await fault(servers, primary)
            async with asyncio.timeout(SOON):
                with pytest.raises(DBAPIError) as caught:
                    await session.commit()
            [note] = caught.value.__notes__
            assert "primary is taken for dead" in note and "may have been committed" in note
        async with asyncio.timeout(SOON):  # it is known by now
            away = r"the primary \(primary\) cannot be reached: .* it has not answered for"
            with pytest.raises(NoPrimary, match=away):
                async with db.begin() as session:
                    session.add(User(email="cyd"))
                    await session.flush()
            async with db.session() as session:
                assert (await session.scalars(ALL)).all() == ["ada"]
        new = servers.cluster.standbys[0]
        await asyncio.to_thread(new.promote)

        async def work(session: BookmarkSession) -> None:
            session.add(User(email="dan"))

        await db.run(work)  # which tries it again until there is a primary
        assert db.cluster.primary.name == "replica-1"
        found = set(await asyncio.to_thread(new.sql, "SELECT email FROM users"))
        assert {"ada", "dan"} <= found <= {"ada", "bob", "dan"}  # and bob at most once


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_read_survives_the_end_of_all_idle_connections(
    servers: Servers, read_only: bool
) -> None:
    """As after a restart of all servers, or a firewall's."""
    async with servers.database() as db:

        async def read(start: str | None = None) -> None:
            async with db.session(start) as session:
                if read_only:
                    async with session.begin(read_only=True):
                        assert (await session.scalars(ALL)).all() == ["ada"]
                else:
                    assert (await session.scalars(ALL)).all() == ["ada"]

        starts = [None, None, None, "first-primary", "first-primary"]
        for _ in range(2):
            await asyncio.gather(*(read(start) for start in starts * 3))
            for proxy in servers.proxies.values():
                proxy.cut()


async def test_a_connection_that_died_silently_while_it_was_idle_is_not_used(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The firewall forgot it: what is sent on it goes nowhere. New ones are let through."""
    async with servers.database(dead_after=5.0) as db:  # else one that is slow may be given up
        starts = ("first-primary", None, None)

        async def use(start: str | None) -> None:
            async with db.session(start) as session:
                assert (await session.scalars(ALL)).all() == ["ada"]
            async with db.begin() as session:
                assert (await session.scalars(ALL)).all() == ["ada"]

        await asyncio.gather(*map(use, starts))
        for proxy in servers.proxies.values():
            proxy.forget()
        monkeypatch.setattr("orm.servers.connections.IDLE", 0.0)  # seconds; they were idle for more
        async with asyncio.timeout(SOON):
            await asyncio.gather(*map(use, starts))
