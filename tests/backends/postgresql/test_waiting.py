"""Reads that wait for a standby: PostgreSQL 19 can wait itself, earlier ones are asked at times."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from models import Base, User
from orm import Bookmark, Database
from orm.routing import Reason, Route
from orm.testing.postgresql import Cluster, Server
from tests.conftest import Statements, over


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    return postgresql_cluster


@pytest.fixture
def standby(cluster: Cluster) -> Server:
    return cluster.standbys[0]


@pytest.fixture
def waiting_standby(standby: Server) -> Server:
    """One that can wait itself."""
    if not can_wait(standby):
        pytest.skip("WAIT FOR LSN is of PostgreSQL 19: name one by ORM_POSTGRESQL_PROGRAMS")
    return standby


def can_wait(server: Server) -> bool:
    return int(server.setting("server_version_num")) >= 190000


_MAX_WAIT = 120
"""Seconds. A read that waits for so long is answered by the primary; no test takes half of it."""


@asynccontextmanager
async def migrated(cluster: Cluster, driver, **options) -> AsyncIterator[Database]:
    """With the first standby alone, which reads wait for."""
    primary, replica = cluster.primary.url(driver), cluster.standbys[0].url(driver)
    async with Database(primary) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    async with over(primary, [replica], **{"max_wait": _MAX_WAIT} | options) as db:
        yield db


async def add(db: Database, email: str) -> str:
    async with db.begin() as session:
        session.add(User(email=email))
    return await session.bookmark()


async def read(db: Database, token: str) -> tuple[set[str], Route | None]:
    async with db.session(token) as session:
        return set(await session.scalars(select(User.email))), session.last_route


@asynccontextmanager
async def reading(
    db: Database, token: str, *, waiting: int = 1
) -> AsyncIterator[asyncio.Task[tuple[set[str], Route]]]:
    """A read that waits, as one of so many, until the block ends."""
    task = asyncio.create_task(read(db, token))
    try:
        await until(lambda: db.cluster.watcher.waiting == waiting)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_MAX_WAIT / 2):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.005)


async def waits_itself(server: Server) -> None:
    """Return when a backend of the server waits, as the server says."""
    query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'WAIT FOR LSN%' AND state = 'active'"
    await asyncio.to_thread(server.wait, lambda: server.sql(query) == ["1"], "does not wait")


async def test_a_read_is_answered_by_the_standby_that_it_waits_for(
    cluster: Cluster, standby: Server, driver
) -> None:
    standby.set("log_statement", "all")
    before = standby.log.read_text()
    async with migrated(cluster, driver) as db:
        standby.pause()
        token = await add(db, "a")
        async with reading(db, token) as answer:
            if can_wait(standby):
                await waits_itself(standby)
            standby.resume()
            emails, route = await answer
    assert emails == {"a"}
    assert (route.server, route.reason) == ("replica-1", Reason.WAITED)
    said = standby.log.read_text().removeprefix(before)
    assert "pg_last_wal_replay_lsn" in said
    assert ("WAIT FOR LSN" in said) == can_wait(standby)
    assert "ERROR" not in said


async def test_each_is_answered_as_soon_as_its_own_is_there(
    cluster: Cluster, standby: Server, driver
) -> None:
    async with migrated(cluster, driver) as db:
        standby.pause()
        first = await add(db, "first")
        standby.wait(lambda: received(cluster, standby), "has not received it")
        standby.black_hole()
        second = await add(db, "second")
        async with reading(db, second) as later, reading(db, first, waiting=2) as sooner:
            standby.resume()
            emails, route = await sooner
            assert emails == {"first"}
            assert (route.server, route.reason) == ("replica-1", Reason.WAITED)
            assert not later.done()
            standby.thaw()
            emails, route = await later
            assert emails == {"first", "second"}
            assert (route.server, route.reason) == ("replica-1", Reason.WAITED)


async def test_a_place_on_another_timeline_is_not_asked_for_without_end(
    cluster: Cluster, driver, statements: Statements
) -> None:
    """The server says that it is there; it is not, and that is found by asking at times."""
    async with migrated(cluster, driver) as db:
        [replica] = db.cluster.replicas
        at = replica.knowledge.at
        assert at is not None
        need = Bookmark(at.history, (("7", 1),))
        statements.probes = 0
        assert await db.cluster.watcher.wait(need, [replica], 0.5) >= 0.5
        assert not replica.covers(need)
        assert 0 < statements.probes < 100  # some 25 of each of the two servers on an idle machine


async def test_another_session_that_asks_has_its_turn(
    cluster: Cluster, standby: Server, driver
) -> None:
    async with migrated(cluster, driver) as db:
        standby.pause()
        token = await add(db, "a")
        async with reading(db, token) as answer:
            for _ in range(10):
                _, replica = await db.status()
                assert replica.error is None
            assert not answer.done()
        standby.resume()


async def test_closing_waits_for_no_replica(cluster: Cluster, standby: Server, driver) -> None:
    started = time.monotonic()
    async with migrated(cluster, driver) as db:
        standby.pause()
        token = await add(db, "a")
        async with reading(db, token) as answer:
            if can_wait(standby):
                await waits_itself(standby)
            answer.cancel()
    assert time.monotonic() - started < _MAX_WAIT / 2
    standby.resume()


async def test_a_promotion_is_found_while_a_read_waits(
    cluster: Cluster, standby: Server, driver
) -> None:
    async with migrated(cluster, driver) as db:
        standby.pause()
        token = await add(db, "a")
        standby.wait(lambda: received(cluster, standby), "has not received it")
        async with reading(db, token) as answer:
            cluster.primary.kill()
            cluster.promote(standby)
            async with asyncio.timeout(_MAX_WAIT / 2):
                emails, route = await answer
    assert emails == {"a"}
    assert route.server == "replica-1"


def received(cluster: Cluster, standby: Server) -> bool:
    [there] = cluster.primary.sql("SELECT pg_current_wal_flush_lsn()")
    return standby.sql(f"SELECT pg_last_wal_receive_lsn() >= '{there}'") == ["t"]


async def test_a_server_that_dies_while_it_waits(
    cluster: Cluster, waiting_standby: Server, driver
) -> None:
    async with migrated(cluster, driver) as db:
        waiting_standby.pause()
        token = await add(db, "a")
        async with reading(db, token) as answer:
            await waits_itself(waiting_standby)
            waiting_standby.kill()
            [replica] = db.cluster.replicas
            await until(lambda: replica.knowledge.error is not None)
            waiting_standby.start()  # and replays all that it has
            emails, route = await answer
    assert emails == {"a"}
    assert route.server == "replica-1"


async def test_a_server_that_freezes_while_it_waits(
    cluster: Cluster, waiting_standby: Server, driver
) -> None:
    async with migrated(cluster, driver) as db:
        waiting_standby.pause()
        token = await add(db, "a")
        async with reading(db, token) as answer:
            await waits_itself(waiting_standby)
            waiting_standby.freeze()
            [replica] = db.cluster.replicas
            await until(lambda: replica.knowledge.error is not None)
            waiting_standby.thaw()
            waiting_standby.resume()
            emails, route = await answer
        assert emails == {"a"}
        assert route.server == "replica-1"
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WAIT FOR LSN%'"
        # What was cut off is gone, and one connection asks.
        waiting_standby.wait(lambda: int(waiting_standby.sql(query)[0]) <= 1, "leaks connections")
