"""Transactions that are tried again when the primary is lost, before COMMIT and in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import BookmarkSession, Database
from orm.testing.postgresql import Cluster, Proxy
from tests.conftest import over


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def migrated(cluster: Cluster, primary: str, driver: str) -> AsyncIterator[Database]:
    async with Database(cluster.primary.url(driver)) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    standbys = [standby.url(driver) for standby in cluster.standbys]
    async with over(primary, standbys) as db:
        yield db


async def emails(db: Database) -> list[str]:
    async with db.session("first-primary") as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


async def test_a_primary_that_dies_before_commit(cluster: Cluster, driver: str) -> None:
    """The work is done anew on the next primary, and its chain goes on there."""
    old, (one, two) = cluster.primary, cluster.standbys
    tried: list[str] = []
    async with migrated(cluster, old.url(driver), driver) as db:

        async def add(session: BookmarkSession) -> None:
            session.add(User(email=f"attempt {len(tried)}"))
            await session.flush()
            assert session.last_route is not None
            tried.append(session.last_route.server)
            if len(tried) == 1:
                await asyncio.to_thread(fail_over)
            await session.scalar(text("SELECT 1"))  # else COMMIT is what does not arrive

        def fail_over() -> None:
            two.partition()  # else it might go further than the new primary, and not follow it
            old.kill()
            cluster.promote(one)
            two.follow(one)

        chain = db.chain()
        async with asyncio.timeout(200):
            await chain.run(add, retry_for=120)
            async with chain.session() as session:
                found = list(await session.scalars(select(User.email)))
        assert tried[0] == "primary"
        assert tried[-1] == "replica-1"
        assert found == [f"attempt {len(tried) - 1}"]
        old.heal()


async def test_a_primary_that_was_replaced_before_commit(cluster: Cluster, driver: str) -> None:
    """The old one runs on as a standby, and refuses to write."""
    old, (one, _) = cluster.primary, cluster.standbys
    tried: list[BookmarkSession] = []
    async with migrated(cluster, old.url(driver), driver) as db:

        async def add(session: BookmarkSession) -> None:
            tried.append(session)
            if len(tried) == 1:
                await asyncio.to_thread(cluster.promote, one)
                await asyncio.to_thread(old.rejoin, one)
            session.add(User(email="ada"))

        async with asyncio.timeout(200):
            await db.run(add, retry_for=120)
        assert len(tried) > 1
        assert await emails(db) == ["ada"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_connection_that_is_lost_in_commit(
    cluster: Cluster, driver: str, idempotent: bool
) -> None:
    """The COMMIT arrives, and its answer does not: it is done again only if it may be."""
    tried: list[BookmarkSession] = []
    async with (
        Proxy(cluster.primary.port) as proxy,
        migrated(cluster, proxy.url(cluster.primary.url(driver)), driver) as db,
    ):

        async def add(session: BookmarkSession) -> None:
            tried.append(session)
            session.add(User(email=f"{len(tried)}"))
            await session.flush()
            if len(tried) == 1:
                proxy.cut_at(b"COMMIT")

        async with asyncio.timeout(200):
            if idempotent:
                await db.run(add, idempotent=True)
            else:
                with pytest.raises(DBAPIError) as lost:
                    await db.run(add)
                assert "may have been committed" in "".join(lost.value.__notes__)
        assert proxy.has_cut
        assert await emails(db) == (["1", "2"] if idempotent else ["1"])


async def test_a_primary_that_dies_in_commit(cluster: Cluster, driver: str) -> None:
    """It waits for a synchronous standby that does not answer; the row is there afterwards."""
    primary, (one, _) = cluster.primary, cluster.standbys
    tried: list[BookmarkSession] = []
    async with migrated(cluster, primary.url(driver), driver) as db:
        primary.set("synchronous_standby_names", "absent")
        primary.sql("CHECKPOINT")  # by the process that has commits wait: it has read it by now

        async def add(session: BookmarkSession) -> None:
            tried.append(session)
            session.add(User(email=f"{len(tried)}"))

        running = asyncio.create_task(db.run(add))
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await asyncio.to_thread(primary.wait, lambda: primary.sql(waits) == ["1"], "does not wait")
        await asyncio.to_thread(one.caught_up, primary)
        primary.kill()
        with pytest.raises(DBAPIError) as lost:
            async with asyncio.timeout(200):
                await running
        assert "may have been committed" in "".join(lost.value.__notes__)
        assert len(tried) == 1
        await asyncio.to_thread(cluster.promote, one)
        async with Database(one.url(driver)) as survivors:
            assert await emails(survivors) == ["1"]
        primary.heal()


async def test_a_primary_that_is_away_at_first(
    cluster: Cluster, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "orm.attempts")
    primary = cluster.primary
    async with migrated(cluster, primary.url(driver), driver) as db:
        primary.kill()

        async def add(session: BookmarkSession) -> None:
            session.add(User(email="ada"))

        running = asyncio.create_task(db.run(add, retry_for=60))
        await asyncio.to_thread(primary.heal)
        async with asyncio.timeout(200):
            await running
        tried = [record.levelname for record in caplog.records if record.name == "orm.attempts"]
        assert set(tried) == {"DEBUG"}  # orm.server says once that the primary is away
        assert await emails(db) == ["ada"]


async def test_a_backend_that_is_ended_while_it_works(cluster: Cluster, driver: str) -> None:
    """A read-only transaction loses its snapshot with it, and has a new one."""
    primary = cluster.primary
    tried: list[BookmarkSession] = []
    async with migrated(cluster, primary.url(driver), driver) as db:

        async def read(session: BookmarkSession) -> list[str]:
            tried.append(session)
            process = await session.scalar(text("SELECT pg_backend_pid()"))
            if len(tried) == 1:
                await asyncio.to_thread(primary.sql, f"SELECT pg_terminate_backend({process})")
            return list(await session.scalars(select(User.email)))

        async with Database(primary.url(driver)) as alone, asyncio.timeout(200):
            assert await alone.run(read, read_only=True) == []
        assert len(tried) == 2
        tried.clear()

        async def write(session: BookmarkSession) -> None:
            tried.append(session)
            session.add(User(email=f"{len(tried)}"))
            await session.flush()
            if len(tried) == 1:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        async with asyncio.timeout(200):
            await db.run(write)
        assert await emails(db) == ["2"]
