"""Replicas in trouble: sessions go on, and never see less than they did."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models import Base, User
from orm import BookmarkSession, Database
from orm.exceptions import ConfigurationError, NoPrimary, NotCaughtUp
from orm.routing import Reason
from orm.testing.postgresql import Cluster, Proxy, Server
from tests.backends.away import needs_the_primary
from tests.conftest import over


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    return postgresql_cluster


@asynccontextmanager
async def migrated(cluster: Cluster, driver, urls=None, **options) -> AsyncIterator[Database]:
    primary = cluster.primary.url(driver)
    async with Database(primary) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    urls = urls or [standby.url(driver) for standby in cluster.standbys]
    async with over(primary, urls, **options) as db:
        yield db


async def add(db: Database, email: str) -> str:
    async with db.begin() as session:
        session.add(User(email=email))
    return await session.bookmark()


async def emails(session: BookmarkSession) -> set[str]:
    found = set(await session.scalars(select(User.email)))
    await session.rollback()
    return found


ALL = select(User.email)


def served_by(session: BookmarkSession) -> str:
    assert session.last_route is not None
    return session.last_route.server


async def serves_again(db: Database, name: str, token: str, seen: set[str]) -> None:
    """Return when a replica has served a read; the other one may be faster at first."""
    server = None
    async with asyncio.timeout(60):
        while server != name:
            await db.status()
            async with db.session(token) as session:
                assert await emails(session) == seen
                server = served_by(session)


STILL = [Server.pause, Server.stall_replay, Server.partition, Server.black_hole]


@pytest.mark.parametrize("fault", STILL)
async def test_a_replica_that_stands_still_serves_only_the_past(
    cluster: Cluster, driver, fault
) -> None:
    one, _ = cluster.standbys
    async with migrated(cluster, driver) as db:
        fault(one)
        token = await add(db, "new")
        cluster.standbys[1].caught_up(cluster.primary)
        for _ in range(4):
            async with db.session(token) as session:
                assert await emails(session) == {"new"}
                assert served_by(session) != "replica-1"
        one.heal()
        one.caught_up(cluster.primary)
        await serves_again(db, "replica-1", token, {"new"})


async def test_a_read_in_conflict_with_replay_is_read_elsewhere(cluster: Cluster, driver) -> None:
    one, _ = cluster.standbys
    async with migrated(cluster, driver, urls=[one.url(driver)]) as db:
        await add(db, "a")
        cluster.caught_up()
        # On the standby it would go on for longer than the test may take.
        slow = select(
            User.email, text("pg_sleep(CASE WHEN pg_is_in_recovery() THEN 600 END)::text")
        )
        async with db.session() as session:
            reading = asyncio.create_task(
                session.execute(slow, execution_options={"route": "read"})
            )
            query = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            await asyncio.to_thread(one.wait, lambda: one.sql(query) == ["1"], "does not read")
            await asyncio.to_thread(one.conflict)
            assert [row.email for row in await reading] == ["a"]
            assert served_by(session) == "primary"


async def test_a_frozen_replica_holds_up_no_new_session(cluster: Cluster, driver) -> None:
    """A session that is connected to it hangs; probes find out, and no other one is sent there."""
    one, _ = cluster.standbys
    async with migrated(cluster, driver, dead_after=1.0) as db:
        token = await add(db, "a")
        cluster.caught_up()
        one.freeze()
        await db.status()  # until every probe has answered or timed out
        async with asyncio.timeout(15):  # of 20, if each waited for a probe to time out
            for _ in range(4):
                async with db.session(token) as session:
                    assert await emails(session) == {"a"}
                    assert served_by(session) != "replica-1"
        one.thaw()
        await serves_again(db, "replica-1", token, {"a"})


async def test_a_black_holed_replica_is_left_out(cluster: Cluster, driver) -> None:
    one, two = cluster.standbys
    async with Proxy(one.port) as proxy:
        urls = [proxy.url(one.url(driver)), two.url(driver)]
        async with migrated(cluster, driver, urls=urls, dead_after=1.0) as db:
            token = await add(db, "a")
            cluster.caught_up()
            proxy.black_hole()
            await db.status()  # until every probe has answered or timed out
            async with asyncio.timeout(15):  # of 20, if each waited for a probe to time out
                for _ in range(4):
                    async with db.session(token) as session:
                        assert await emails(session) == {"a"}
                        assert served_by(session) != "replica-1"


async def test_replicas_that_are_away_do_not_stop_a_start(
    cluster: Cluster, driver, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = cluster.standbys
    two.stop()
    async with Proxy(one.port) as proxy:
        proxy.black_hole()
        urls = [proxy.url(one.url(driver)), two.url(driver)]
        begin = time.monotonic()
        async with over(cluster.primary.url(driver), urls, dead_after=1.0) as db:
            assert time.monotonic() - begin < 30  # a driver's own time-out is 60 s
            assert caplog.text.count("cannot be reached") == 2
            _, hole, stopped = db.last_status()
            assert hole.error and stopped.error
            async with db.session() as session:
                assert await session.scalar(select(1)) == 1
                assert served_by(session) == "primary"
            proxy.heal()
            two.start()
            async with asyncio.timeout(60):
                while any(server.error for server in await db.status()):
                    pass
            async with db.session() as session:
                assert await session.scalar(select(1)) == 1
                assert served_by(session) != "primary"


async def test_a_primary_that_is_away_is_said_soon(cluster: Cluster, driver) -> None:
    one, _ = cluster.standbys
    async with Proxy(cluster.primary.port) as proxy:
        proxy.black_hole()
        begin = time.monotonic()
        away = rf"{proxy.port} \(postgresql.* cannot be reached: it took more than 5 s"
        with pytest.raises(NoPrimary, match=away):
            async with Database(proxy.url(cluster.primary.url(driver))):
                pass
        assert time.monotonic() - begin < 45  # a driver's own time-out is 60 s
    with pytest.raises(NotCaughtUp, match="it is a standby, and no other server is the primary"):
        async with Database(one.url(driver)):
            pass


async def test_what_needs_the_primary_says_that_it_is_away(cluster: Cluster, driver) -> None:
    async with migrated(cluster, driver) as db, db.session() as session:
        await asyncio.to_thread(cluster.primary.kill)
        await needs_the_primary(db, "cannot be reached")
        with pytest.raises(NoPrimary):
            await session.connection()
        await asyncio.to_thread(cluster.primary.start)
        session.add(User(email="ada"))
        await session.commit()
        assert await emails(session) == {"ada"}


async def test_a_primary_of_another_database_is_refused_as_a_replica(
    cluster: Cluster, shared_cluster: Cluster
) -> None:
    """It is not taken for the primary: that is another one's."""
    urls = [shared_cluster.primary.url()]
    with pytest.raises(ConfigurationError, match=r"^replica-1 .* is a copy of another database"):
        await over(cluster.primary.url(), urls).start()


async def test_a_late_replica_of_another_database_is_not_believed(
    cluster: Cluster, shared_cluster: Cluster
) -> None:
    """It is a primary, too: no session writes there."""
    other = shared_cluster.primary
    async with Proxy(other.port) as proxy:
        proxy.black_hole()
        urls = [proxy.url(other.url())]
        async with over(cluster.primary.url(), urls, dead_after=1.0) as db:
            proxy.heal()
            async with asyncio.timeout(60):
                while "another database" not in ((await db.status())[1].error or ""):
                    pass
            async with db.session() as session:
                assert await session.scalar(select(1)) == 1
                assert served_by(session) == "primary"


async def seen_by_a_stranger(db: Database) -> set[str]:
    async with db.session() as session:
        return await emails(session)


async def test_a_standby_that_crashes_may_go_back(cluster: Cluster, driver) -> None:
    """It starts again by itself, where it has last written down how far it was."""
    one, _ = cluster.standbys
    async with migrated(cluster, driver, [one.url(driver)]) as db:
        await add(db, "old")
        cluster.primary.sql("CHECKPOINT")
        cluster.caught_up()
        one.sql("CHECKPOINT")
        await add(db, "new")
        cluster.caught_up()
        async with db.session() as session:
            assert await emails(session) == {"old", "new"}
            assert served_by(session) == "replica-1"
            one.delay(3600)  # it replays no commit again
            [pid] = one.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
            os.kill(int(pid), signal.SIGKILL)
            one.wait(lambda: "reinitializing" in one.log.read_text(), "does not start again")
            async with asyncio.timeout(60):
                while await seen_by_a_stranger(db) != {"old"}:  # until it serves again
                    await db.status()
            assert await emails(session) == {"old", "new"}


async def test_a_replica_made_anew_under_the_same_name(cluster: Cluster, driver) -> None:
    """It is older than it was: what was known of it is void."""
    one, _ = cluster.standbys
    async with migrated(cluster, driver, urls=[one.url(driver)]) as db:
        one.stop()
        shutil.rmtree(one.data)
        one.clone(cluster.primary)  # from before the write
        one.stand_by(cluster.primary)
        one.start()
        one.pause()
        token = await add(db, "new")
        async with db.session(token) as session:
            assert await emails(session) == {"new"}
            assert served_by(session) == "primary"


@pytest.mark.parametrize("fallback", [True, False])
async def test_an_exhausted_replica_pool_leaves_reads_to_other_servers(
    cluster: Cluster, driver: str, fallback: bool
) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    async with migrated(cluster, driver, engine_options=options, fallback=fallback) as db:
        token = await add(db, "a")
        cluster.caught_up()
        async with db.session(token) as one, db.session(token) as two, db.session(token) as three:
            holders = [await one.stream(ALL)]
            for _ in range(2):  # whichever server's turn it is
                async with db.session(token) as session:
                    assert await emails(session) == {"a"}
                    assert served_by(session) not in ("primary", served_by(one))
            holders.append(await two.stream(ALL))
            assert {served_by(one), served_by(two)} == {"replica-1", "replica-2"}
            if fallback:
                assert await emails(three) == {"a"}
                assert served_by(three) == "primary"
                assert three.last_route and three.last_route.reason is Reason.CROWDED
            else:
                with pytest.raises(PoolTimeout) as caught:
                    await emails(three)
                assert "hold the connections for reads" in caught.value.__notes__[0]
            for stream in holders:
                await stream.close()
        async with db.session(token) as session:
            assert await emails(session) == {"a"}
            assert served_by(session) != "primary"


async def test_what_was_read_from_a_server_whose_pool_is_exhausted_is_not_forgotten(
    cluster: Cluster, driver: str
) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2}
    async with (
        migrated(cluster, driver, engine_options=options) as db,
        over(cluster.primary.url(driver), []) as elsewhere,
    ):
        cluster.standbys[1].pause()
        token = await add(db, "a")
        async with db.session(token) as session, db.session(token) as holder:
            await add(elsewhere, "b")
            # The primary serves it while the replica has not caught up.
            while await emails(session) != {"a", "b"} or served_by(session) != "replica-1":
                pass
            stream = await holder.stream(ALL)
            assert served_by(holder) == "replica-1"
            assert await emails(session) == {"a", "b"}
            assert served_by(session) == "primary"
            await stream.close()


async def test_a_connection_that_is_lost_while_asyncpg_sets_it_up(cluster: Cluster) -> None:
    def cut_off(connection: Any, _: object) -> None:
        connection.driver_connection.terminate()

    url, replica = cluster.primary.url("asyncpg"), cluster.standbys[0].url("asyncpg")
    async with over(url, [replica]) as db:
        reader = db.cluster.replicas[0].engine.sync_engine
        event.listen(reader, "connect", cut_off, insert=True)  # before the dialect's own
        async with db.session() as session:
            statement = text("SELECT 1").execution_options(route="read")
            assert await session.scalar(statement) == 1
            assert served_by(session) == "primary"
        await db.cluster.writer.dispose()  # so that there has to be a new connection
        event.listen(db.cluster.writer.sync_engine, "connect", cut_off, insert=True, once=True)
        async with db.session() as session:
            with pytest.raises(NoPrimary, match="closed"):
                await session.scalar(text("SELECT 1"))
            await session.rollback()
            assert await session.scalar(text("SELECT 1")) == 1
