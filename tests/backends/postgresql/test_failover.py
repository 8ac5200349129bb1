"""Failover never lies: what is still there is found, and what is gone is said to be."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import BookmarkSession, Database, NotCaughtUp, WriteLost
from orm.exceptions import PrimaryChanged
from orm.routing import Reason
from orm.testing.postgresql import Cluster, Server
from tests.conftest import over


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def migrated(cluster: Cluster, driver, **options) -> AsyncIterator[Database]:
    urls = [server.url(driver) for server in cluster.servers]
    async with Database(urls[0]) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    async with over(urls[0], urls[1:], **options) as db:
        yield db


async def add(db: Database, email: str) -> str:
    async with db.begin() as session:
        session.add(User(email=email))
    return await session.bookmark()


async def emails(session: BookmarkSession) -> set[str]:
    return set(await session.scalars(select(User.email)))


async def roles(db: Database) -> dict[str, str]:
    return {server.name: server.role for server in await db.status()}


def fail_over(cluster: Cluster, *, dead: bool = False) -> None:
    """The first standby becomes the primary, and the second one follows it.

    It could not if it had received more than the first one. Servers write to the log by themselves,
    too, so a test that partitions both begins with the second one.
    """
    one, two = cluster.standbys
    two.partition()
    if dead:
        cluster.primary.kill()
    cluster.promote(one)
    two.follow(one)


async def test_the_new_primary_is_found(cluster: Cluster, driver) -> None:
    old, (one, two) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver) as db:
        before = await add(db, "before")
        cluster.caught_up()
        fail_over(cluster, dead=True)
        assert (await roles(db))["replica-1"] == "primary"
        after = await add(db, "after")
        cluster.caught_up()
        async with db.session([before, after]) as session:
            assert await emails(session) == {"before", "after"}
        async with db.session(before) as session:  # from before the failover, and still there
            assert await emails(session) >= {"before"}
        two.partition()  # and does not say any more which timeline it is on
        assert [server.error for server in await db.status() if server.name == "replica-2"] == [
            None
        ]
        old.rejoin(one)
        assert (await roles(db))["primary"] == "replica"
        async with db.session(after) as session:
            assert await emails(session) == {"before", "after"}


async def test_a_lost_write_is_said_to_be_lost(cluster: Cluster, driver) -> None:
    one, two = cluster.standbys
    async with migrated(cluster, driver) as db, db.session() as alive:
        kept = await add(db, "kept")
        cluster.caught_up()
        two.partition()
        one.partition()
        alive.add(User(email="lost"))
        await alive.commit()
        lost = await alive.bookmark()
        fail_over(cluster, dead=True)
        await roles(db)
        for number in range(50):  # until the log is longer than it was
            await add(db, f"{number}")
        with pytest.raises(WriteLost, match="what was written there is gone"):
            async with db.session(lost) as session:
                await emails(session)
        with pytest.raises(WriteLost, match="what was written there is gone"):
            async with db.session(lost) as session:
                session.add(User(email="on top of it"))
                await session.commit()
        with pytest.raises(WriteLost):
            await emails(alive)
        async with db.session(kept) as session:
            assert "on top of it" not in await emails(session)


@pytest.mark.parametrize("seen_on", ["primary", "replica", "replica that is gone"])
async def test_what_was_only_read_may_be_lost_as_well(
    cluster: Cluster, driver, seen_on: str
) -> None:
    old, (one, two) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver, max_wait=30) as db:
        one.partition()
        token = await add(db, "lost")
        async with db.session("first-primary" if seen_on == "primary" else token) as reader:
            assert await emails(reader) == {"lost"}
            assert reader.last_route.role == seen_on.split()[0]
            await reader.commit()
            old.kill()
            if seen_on.endswith("gone"):
                two.kill()
            cluster.promote(one)
            await roles(db)
            for number in range(50):  # until the log is longer than it was
                await add(db, f"{number}")
            for _ in range(2):
                reader.add(User(email="in ignorance"))
                with pytest.raises(WriteLost):
                    await reader.commit()
                await reader.rollback()


async def test_a_commit_on_a_primary_that_was_replaced_is_lost(cluster: Cluster, driver) -> None:
    one, two = cluster.standbys
    async with migrated(cluster, driver) as db, db.session() as late:
        late.add(User(email="lost"))
        await late.flush()
        two.partition()
        one.partition()
        fail_over(cluster)
        assert (await roles(db))["replica-1"] == "primary"
        await late.commit()  # the old primary still runs
        await add(db, "new")
        with pytest.raises(WriteLost):
            await emails(late)


async def test_a_transaction_ends_on_the_primary_that_it_began_on(cluster: Cluster, driver) -> None:
    old, (one, two) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver) as db, db.session() as late:
        late.add(User(email="first half"))
        await late.flush()
        two.partition()
        one.partition()
        fail_over(cluster)
        assert (await roles(db))["replica-1"] == "primary"
        late.add(User(email="second half"))
        await late.commit()
        assert old.sql("SELECT count(*) FROM users") == ["2"]
        assert one.sql("SELECT count(*) FROM users") == ["0"]
        with pytest.raises(WriteLost):
            await emails(late)


async def test_a_transaction_begins_where_the_primary_is_by_then(cluster: Cluster, driver) -> None:
    """It is replaced while the session makes sure of what it has seen."""
    one, _ = cluster.standbys
    async with migrated(cluster, driver) as db:
        token = await add(db, "before")
        cluster.caught_up()
        async with db.session(token) as reader:
            assert await emails(reader) == {"before"}
            assert reader.last_route.role == "replica"
            await reader.commit()
            old = db.cluster.primary

            def replaced(*_: object) -> None:
                fail_over(cluster)
                new = db.cluster.replicas[0]
                with new.engine.sync_engine.connect() as connection:
                    new.ask(connection)

            event.listen(old.engine.sync_engine, "checkout", replaced, once=True)
            reader.add(User(email="after"))
            await reader.commit()
            assert reader.last_route.server == "replica-1"
        assert one.sql("SELECT email FROM users ORDER BY 1") == ["after", "before"]


async def test_a_lost_write_is_noticed_also_when_the_new_primary_does_not_answer_at_first(
    cluster: Cluster, driver
) -> None:
    old, (one, two) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver, max_wait=0) as db:
        two.partition()
        one.partition()
        lost = await add(db, "lost")
        old.kill()
        cluster.promote(one)
        await roles(db)
        primary = db.cluster.primary

        def refused(*_: object) -> None:
            raise ConnectionRefusedError

        await primary.engine.dispose()
        event.listen(primary.engine.sync_engine, "do_connect", refused, once=True)
        with pytest.raises(WriteLost):
            async with db.session(lost) as session:
                await emails(session)


async def test_a_primary_that_came_back_as_a_standby_is_not_read_as_the_primary(
    cluster: Cluster, driver
) -> None:
    old, (one, _) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver) as db:
        await db.cluster.watcher.stop()  # nothing else finds out
        fail_over(cluster)
        old.rejoin(one)
        old.pause()
        one.sql("INSERT INTO users (email) VALUES ('new')")
        with pytest.raises(NotCaughtUp, match="standby"):
            async with db.session("first-primary") as session:
                await emails(session)


async def test_an_old_primary_that_still_runs_serves_no_session(cluster: Cluster, driver) -> None:
    old = cluster.primary
    async with migrated(cluster, driver) as db:
        fail_over(cluster)
        assert (await roles(db))["replica-1"] == "primary"
        token = await add(db, "new")
        old.sql("INSERT INTO users (email) VALUES ('astray')")
        for _ in range(6):
            async with db.session(token) as session:
                assert await emails(session) == {"new"}
            async with db.session() as session:
                assert "astray" not in await emails(session)
        [status] = [server for server in await db.status() if server.name == "primary"]
        assert status.error and "replaced" in status.error


async def test_a_database_that_starts_after_it_asks_who_is_who(cluster: Cluster, driver) -> None:
    old, (one, _) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver) as db:
        await add(db, "a")
    cluster.caught_up()
    fail_over(cluster)
    old.rejoin(one)
    urls = [server.url(driver) for server in cluster.servers]
    async with over(urls[0], urls[1:]) as db:
        token = await add(db, "b")
        cluster.caught_up()
        async with db.session(token) as session:
            assert await emails(session) == {"a", "b"}


async def test_a_database_starts_without_the_old_primary(cluster: Cluster, driver) -> None:
    one, _ = cluster.standbys
    async with migrated(cluster, driver) as db:
        await add(db, "a")
    cluster.caught_up()
    fail_over(cluster, dead=True)
    urls = [server.url(driver) for server in cluster.servers]
    async with over(urls[0], urls[1:]) as db:
        await add(db, "b")
        assert one.sql("SELECT email FROM users ORDER BY 1") == ["a", "b"]


async def test_a_write_on_a_demoted_primary_fails_and_the_next_one_succeeds(
    cluster: Cluster, driver
) -> None:
    old, (one, _) = cluster.primary, cluster.standbys
    async with migrated(cluster, driver) as db:
        await add(db, "a")
        cluster.caught_up()
        fail_over(cluster)
        old.rejoin(one)
        with pytest.raises((DBAPIError, PrimaryChanged)):
            await add(db, "b")
        await roles(db)
        await add(db, "b")
        assert one.sql("SELECT email FROM users ORDER BY 1") == ["a", "b"]


async def test_reads_go_on_while_there_is_no_primary(cluster: Cluster, driver) -> None:
    async with migrated(cluster, driver) as db:
        token = await add(db, "a")
        cluster.caught_up()
        await db.status()
        cluster.primary.kill()
        for _ in range(5):
            async with db.session(token) as session:
                assert await emails(session) == {"a"}
                handed_on = await session.bookmark()
            async with db.session(handed_on) as session:
                assert await emails(session) == {"a"}
        await db.status()
        async with db.session(token) as session:
            assert await emails(session) == {"a"}


async def test_a_standby_that_went_back_in_time_is_found_out(cluster: Cluster, driver) -> None:
    """It restarts with a delay, and shows less than it did."""
    one, two = cluster.standbys
    async with migrated(cluster, driver, max_wait=0.05) as db:
        two.kill()
        for number in range(5):
            await add(db, f"{number}")
        one.caught_up(cluster.primary)
        async with db.session() as session:
            seen = await emails(session)
            token = await session.bookmark()
        one.configure("recovery_min_apply_delay = 1h")
        one.kill()
        one.start()
        async with db.session(token) as session:
            assert await emails(session) >= seen


@pytest.mark.parametrize("fault", [Server.kill, Server.stop])
async def test_a_replica_that_is_gone_is_left_out(cluster: Cluster, driver, fault) -> None:
    one, two = cluster.standbys
    async with migrated(cluster, driver) as db:
        token = await add(db, "a")
        cluster.caught_up()
        fault(one)
        for _ in range(4):
            async with db.session(token) as session:
                assert await emails(session) == {"a"}
        fault(two)
        async with db.session(token) as session:
            assert await emails(session) == {"a"}
            assert session.last_route and session.last_route.role == "primary"


async def test_without_any_server_the_error_says_so(cluster: Cluster, driver) -> None:
    async with migrated(cluster, driver) as db:
        token = await add(db, "a")
        for server in cluster.servers:
            server.kill()
        # A pooled connection is found dead, by this read or by the watcher before it.
        with pytest.raises((DBAPIError, NotCaughtUp)):
            async with db.session(token) as session:
                await emails(session)
        with pytest.raises(NotCaughtUp, match="no server can serve this read"):
            async with db.session(token) as session:
                await emails(session)


@pytest.mark.parametrize("keys", [(), ("secret",)], ids=["unsigned", "signed"])
async def test_who_has_a_commit_that_a_crash_lost_does_not_wait(
    cluster: Cluster, driver, keys
) -> None:
    """An asynchronous one; the position is then one that was never reached."""
    # Started anew, since a writer of the log that has long had nothing to do is woken by a commit.
    cluster.primary.configure("wal_writer_delay = 10000")
    cluster.primary.restart()
    async with migrated(cluster, driver, bookmark_keys=keys, max_wait=0.05) as db:
        await add(db, "kept")
        async with db.session() as session:
            await session.execute(text("SET LOCAL synchronous_commit = off"))
            session.add_all(User(email=f"lost {number}") for number in range(500))
            await session.commit()
            token = await session.bookmark()
        cluster.primary.kill()
        cluster.primary.start()
        await db.status()
        async with asyncio.timeout(60), db.session(token) as session:
            if keys:
                with pytest.raises(WriteLost, match="does not have"):
                    await emails(session)
            else:
                assert await emails(session) == {"kept"}
                assert session.last_route
                assert session.last_route.reason is Reason.STRAY_BOOKMARK
