"""Who is the primary, when servers change roles behind the back of a `Database`."""

import asyncio

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from orm import Bookmark, Database, WriteLost
from orm.testing.consistency.tables import RAISE, registers
from tests.harness.simulation.store import Store
from tests.harness.simulation.world import Machine, World
from tests.simulation.test_found import raised, simulated

ONE = {"of": 0, "by": "test"}
ADDRESSES = [f"simulated:///test/{name}" for name in ("primary", "replica-1", "replica-2")]


async def read(database: Database) -> tuple[str, str, int]:
    """Who served it, as what, and the version."""
    async with database.session() as session:
        [row] = (await session.execute(registers())).all()
        assert session.last_route is not None
        return session.last_route.server, session.last_route.role, row.version


def test_a_switchover_that_begins_no_timeline_is_noticed() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)
        assert new.seen == 1
        new.upstream, world.primary = None, new  # it was started without standby.signal
        old.follow(new)
        await asyncio.sleep(2)
        token = await raised(database)
        assert database.cluster.primary.name == "replica-1"
        async with database.session(token) as session:
            assert (await session.execute(registers())).one().version == 2

    simulated(work)


def test_no_session_reads_what_is_written_on_an_old_primary_that_goes_on() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await asyncio.sleep(0.5)
        new.promote()
        await asyncio.sleep(1)
        assert database.cluster.primary.name == "replica-1"
        async with Database(ADDRESSES[0]) as elsewhere:
            await raised(elsewhere)
        await asyncio.sleep(1)
        assert (old.store.commits, world.addresses["replica-2"][0].seen) == (1, 1)
        for _ in range(4):
            assert await read(database) == ("replica-1", "primary", 0)
        errors = {server.name: server.error for server in database.last_status()}
        assert errors["primary"] == "it was the primary, and replica-1 has replaced it"
        assert "follows a primary that was replaced" in str(errors["replica-2"])

    simulated(work, (1, 1))


def test_a_replica_of_a_primary_that_is_not_known_serves_no_session() -> None:
    async def work(world: World, __: Database) -> None:
        [new], [follower] = world.addresses["replica-1"], world.addresses["replica-2"]
        async with Database(ADDRESSES[0], replicas=ADDRESSES[2:]) as database:
            await asyncio.sleep(0.5)
            new.promote()
            follower.follow(new)
            async with Database(ADDRESSES[1]) as elsewhere:
                await raised(elsewhere)
            await asyncio.sleep(1)
            assert follower.said == 1
            for _ in range(4):
                assert await read(database) == ("primary", "primary", 0)
            assert "has not been found yet" in str(database.last_status()[1].error)

    simulated(work, (1, 1))


def test_a_commit_on_an_old_primary_is_no_knowledge_of_the_new_one_under_its_name() -> None:
    async def work(world: World, database: Database) -> None:
        new = Machine(world, "new", world.primary.store, world.primary)
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            new.promote()
            world.addresses["primary"] = [new]
            async with Database(ADDRESSES[0]) as elsewhere:
                await raised(elsewhere)
            await raised(database)
            await session.commit()  # the old one still runs
            with pytest.raises(WriteLost):
                await session.execute(registers())

    simulated(work, (), engine_options={"poolclass": NullPool})


def test_a_primary_that_is_the_primary_again_is_written_through_the_engine_it_had() -> None:
    async def work(world: World, database: Database) -> None:
        one, (two,) = world.primary, world.addresses["replica-1"]
        writer = database.cluster.writer
        for new, old in ((two, one), (one, two)):
            await asyncio.sleep(1)
            new.promote()
            old.follow(new)
            await asyncio.sleep(2)
            assert (database.cluster.writer is writer) is (new is one)
            await raised(database)

    simulated(work, engine_options={"poolclass": NullPool})


def test_a_write_that_meets_a_standby_says_so_and_gives_up_its_connection() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)
        given_up: list[object] = []
        event.listen(
            database.cluster.writer.sync_engine, "invalidate", lambda *_: given_up.append(1)
        )
        new.promote()
        old.follow(new)
        async with database.session() as session:
            with pytest.raises(DBAPIError) as caught:
                await session.execute(RAISE, ONE)
        assert "the primary has changed" in caught.value.__notes__[0]
        assert len(given_up) == 1

    simulated(work)


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_late_replica_of_an_old_primary_shows_is_lost_with_it(gone: bool) -> None:
    """It says that it is where the new primary began, and shows more."""

    async def work(world: World, database: Database) -> None:
        [new], [late] = world.addresses["replica-1"], world.addresses["replica-2"]
        new.partitioned = late.silent = True
        await raised(database)
        await asyncio.sleep(0.5)
        assert (late.seen, late.said) == (1, 0)
        new.promote()
        async with Database(ADDRESSES[1]) as elsewhere:
            await raised(elsewhere)
        await asyncio.sleep(2)
        assert database.cluster.primary.name == "replica-1"
        async with database.session() as session:
            assert (await session.execute(registers())).one().version == 1
            assert session.last_route and session.last_route.server == "replica-2"
            await session.rollback()
            if gone:
                late.crash()
            with pytest.raises(WriteLost):
                await session.execute(RAISE, ONE)

    simulated(work, (1, 1))


def test_a_late_replica_that_shows_nothing_that_was_lost_goes_on() -> None:
    async def work(world: World, database: Database) -> None:
        [new], [late] = world.addresses["replica-1"], world.addresses["replica-2"]
        late.partitioned = True
        await raised(database)
        await asyncio.sleep(1.5)
        new.promote()
        await asyncio.sleep(1.5)
        await raised(database)
        [server] = [one for one in database.cluster.replicas if one.name == "replica-2"]
        await server.probe()  # before the primary says again where it left the old timeline
        assert server.knowledge.error is None

    simulated(work, (1, 1))


def test_where_an_old_primary_was_is_not_where_the_new_one_left_it() -> None:
    async def work(world: World, database: Database) -> None:
        old, [replica] = world.primary, world.addresses["replica-1"]
        new = Machine(world, "new", old.store, old)
        new.partitioned = True
        await raised(database)
        await asyncio.sleep(1.5)
        async with database.session() as session:
            assert (await session.execute(registers())).one().version == 1
            await session.rollback()
            replica.crash()
            replica.restart()
            old.slow = 0.2
            asking = asyncio.ensure_future(session.bookmark())
            await asyncio.sleep(0.3)  # it is connected, and has asked
            new.promote()
            world.addresses["primary"] = [new]
            await raised(database)
            with pytest.raises(WriteLost):
                await asking
        await asyncio.sleep(2)
        assert replica.said == 1
        assert "follows a primary that was replaced" in str(database.last_status()[1].error)

    simulated(work, engine_options={"poolclass": NullPool})


def test_what_was_on_a_primary_before_it_was_restored_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def another(at: dict[int, int], shown: int = 0) -> Bookmark:
        """A later timeline of another history."""
        return Bookmark("another", tuple((str(t + 1), at[t]) for t in sorted(at)), shown)

    async def work(world: World, database: Database) -> None:
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            await session.commit()
            token = await session.bookmark()
            world.primary.crash()
            world.primary = Machine(world, "restored", Store(1))
            copy = Machine(world, "copy", world.primary.store, world.primary)
            world.addresses |= {"primary": [world.primary], "replica-1": [copy]}
            monkeypatch.setattr("tests.harness.simulation.backend.bookmark_of", another)
            await asyncio.sleep(6)
            with pytest.raises(WriteLost):
                await session.execute(registers())
        with pytest.raises(WriteLost):
            async with database.session(token) as session:
                await session.execute(registers())
        later = await raised(database)
        async with database.session(later) as session:
            assert (await session.execute(registers())).one().version == 1

    simulated(work, bookmark_keys=["a"], engine_options={"poolclass": NullPool})


def test_a_chain_of_bookmarks_outlives_a_hundred_failovers() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        token, longest = await raised(database), 0
        for version in range(2, 102):
            await asyncio.sleep(1)
            new.promote()
            old.follow(new)
            old, new = new, old
            await asyncio.sleep(2)
            async with database.session(token) as session:
                assert (await session.execute(registers())).one().version == version - 1
                await session.execute(RAISE, ONE)
                await session.commit()
                token = await session.bookmark()
            longest = max(longest, len(token))
        assert len(Bookmark.decode(token).position) > 10
        assert longest < 500

    simulated(work, engine_options={"poolclass": NullPool})
