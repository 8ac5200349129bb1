"""What the simulator has found, one by one and without chance."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from orm import BookmarkSession, Database, NotCaughtUp, WriteLost
from orm.routing import Reason
from orm.testing.consistency.tables import RAISE, registers
from tests.harness.cancel import CutOff, cancelled_at
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.world import Machine, World


def simulated(
    work: Callable[[World, Database], Awaitable[Any]],
    replicas: tuple[int, ...] = (1,),
    *,
    samples: bool = False,
    **options: Any,
) -> None:
    async def run() -> None:
        world = worlds["test"] = World("test", 1, replicas, 0.001, samples=samples)
        urls = [f"simulated:///test/{address}" for address in world.addresses]
        async with Database(urls[0], replicas=urls[1:], **options) as database:
            await work(world, database)

    loop = VirtualLoop()
    loop.run(run())
    assert not loop.unhandled


async def raised(database: Database) -> str:
    """Write once; the bookmark after it."""
    async with database.begin() as session:
        await session.execute(RAISE, {"of": 0, "by": "test"})
    return await session.bookmark()


def test_a_replica_that_cancels_a_statement_is_not_asked_again_in_its_transaction() -> None:
    async def work(world: World, database: Database) -> None:
        world.conflicts = 1.0
        world.addresses["replica-2"][0].slow = 2.0  # meanwhile replica-1 answers its probes again
        async with database.session() as session:
            rows = (await session.execute(registers())).all()
            assert rows == [(0, 0, "")]
            assert session.last_route and session.last_route.server == "primary"

    simulated(work, (1, 1), max_wait=5)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_commit_that_is_cancelled_leaves_a_session_that_works(number: int) -> None:
    async def work(_: World, database: Database) -> None:
        async with database.session() as session:
            await session.execute(RAISE, {"of": 0, "by": "test"})
            try:
                await cancelled_at(session.commit(), number)
            except CutOff:
                await session.rollback()
            head = (await session.execute(registers(), {}, execution_options=AT_PRIMARY)).all()
            await session.rollback()
            async with database.session(await session.bookmark()) as later:
                assert (await later.execute(registers())).all() == head

    simulated(work, samples=True)


AT_PRIMARY = {"route": "primary"}


async def version(session: BookmarkSession) -> int:
    """As the primary has it."""
    return (await session.execute(registers(), execution_options=AT_PRIMARY)).one().version


def test_a_read_waits_no_longer_than_it_may_when_servers_answer_in_turn() -> None:
    async def work(world: World, database: Database) -> None:
        # where sessions come out; the probes have come out elsewhere
        late = Machine(world, "late", world.primary.store, world.primary)
        late.paused, late.slow = True, 0.02
        world.addresses |= {"elsewhere": world.addresses["replica-1"], "replica-1": [late]}
        token = await raised(database)
        await asyncio.sleep(2)
        clock = asyncio.get_running_loop().time
        for _ in range(5):
            began = clock()
            async with database.session(token) as session:
                assert (await session.execute(registers())).one().version == 1
                assert session.last_route and session.last_route.server == "primary"
            assert clock() - began < 0.15  # a connection, the wait, and one answer that comes late
            await asyncio.sleep(2)

    simulated(work, max_wait=0.05)


def test_a_transaction_stays_on_the_primary_that_it_began_on() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        async with database.session() as session:
            await session.execute(RAISE, {"of": 0, "by": "before"})
            new.promote()
            await database.status()
            assert database.cluster.primary.name == "replica-1"
            await session.execute(RAISE, {"of": 0, "by": "before"})
            await session.commit()
            assert (old.store.commits, new.store.commits) == (1, 0)
            with pytest.raises(WriteLost):
                await session.execute(registers())

    simulated(work)


def test_a_primary_that_has_become_a_standby_is_not_read_from() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)
        new.promote()
        old.paused = True
        old.follow(new)  # before the watcher notices
        async with Database("simulated:///test/replica-1", bookmark_keys=["a"]) as elsewhere:
            token = await raised(elsewhere)
        new.slow = 0.2
        for _ in range(20):
            with suppress(NotCaughtUp, DBAPIError):
                async with database.session([token]) as session:
                    assert await version(session) == 2
        await asyncio.sleep(2)
        async with database.session(token) as session:
            assert await version(session) == 2
        assert session.last_route and session.last_route.server == "replica-1"

    simulated(work, bookmark_keys=["a"])


def test_a_name_may_lead_to_two_primaries_and_only_the_later_one_is_used() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)  # whose connection goes on leading to the old one
        await asyncio.sleep(0.5)
        new.promote()
        world.addresses["primary"] = [new]
        async with database.session("first-primary") as one, database.session() as two:
            await version(one)
            with suppress(NotCaughtUp):
                await version(two)
        for _ in range(5):
            with suppress(NotCaughtUp, DBAPIError):
                await raised(database)
        assert old.store.commits == 1
        assert new.store.commits > 3

    simulated(work, bookmark_keys=["a"])


def test_where_the_primary_was_at_start_may_be_lost() -> None:
    async def work(world: World, _: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        new.paused = new.partitioned = True
        async with Database("simulated:///test/primary") as database:
            await raised(database)
        urls = "simulated:///test/primary", "simulated:///test/replica-1"
        async with Database(urls[0], replicas=urls[1:]) as database:
            new.promote()
            old.follow(new)
            await database.status()
            await database.status()  # the first answers may change what the later ones mean
            token = await raised(database)
            async with database.session(token) as session:
                assert (await session.execute(registers())).one().version == 1

    simulated(work)


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("rolled_back", [True, False])
def test_a_transaction_whose_end_was_cut_off_leaves_nothing_to_the_next_one(
    number: int, rolled_back: bool
) -> None:
    async def work(_: World, database: Database) -> None:
        async with database.session() as session:
            await session.execute(RAISE, {"of": 0, "by": "test"})
            with suppress(CutOff):
                await cancelled_at(session.commit(), number)
            await asyncio.sleep(2)
            if rolled_back:
                await session.rollback()
                await session.execute(registers())
                assert session.last_route and session.last_route.reason is not Reason.MAY_WRITE
                return
            if session.in_transaction():  # it was not committed yet
                await session.rollback()
            async with session.begin(read_only=True):
                assert len((await session.execute(registers())).all()) == 1

    simulated(work)


def test_a_standby_behind_the_primary_s_name_is_not_asked_what_the_primary_shows() -> None:
    async def work(world: World, database: Database) -> None:
        standby = Machine(world, "standby", world.primary.store, world.primary)
        world.stall = 1e9
        writing = asyncio.ensure_future(raised(database))
        await asyncio.sleep(2)
        world.addresses["primary"].append(standby)
        async with database.session() as session:  # from a replica, as the primary does not show it
            assert (await session.execute(registers())).one().version == 1
            token = await session.bookmark()
        world.addresses["replica-1"][0].crash()
        for _ in range(20):
            with suppress(NotCaughtUp):
                async with database.session(token) as session:
                    assert (await session.execute(registers())).one().version == 1
        assert world.primary.store.running
        writing.cancel()

    simulated(work, engine_options={"poolclass": NullPool})


def test_what_a_standby_has_received_is_not_what_it_shows_though_it_was_just_the_primary() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)
        new.promote()
        old.paused = True
        old.follow(new)  # before the watcher notices
        async with Database("simulated:///test/replica-1", bookmark_keys=["a"]) as elsewhere:
            token = await raised(elsewhere)
        old.slow = 0.5  # while it is asked, another is found to be the primary
        async with database.session(token) as session:
            assert (await session.execute(registers())).one().version == 2
        assert database.cluster.primary.name == "replica-1"
        assert (old.received, old.seen) == (2, 1)
        old.slow = 0.0
        async with database.session(token) as session:
            assert (await session.execute(registers())).one().version == 2

    simulated(work, bookmark_keys=["a"], engine_options={"poolclass": NullPool})
