"""What is learnt of each server, and when."""

import asyncio

from orm import Database, Reason
from orm.testing.consistency.tables import registers
from orm.testing.simulation.world import World
from tests.simulation.test_found import raised, simulated


async def served_by(database: Database, token: str | None = None) -> str:
    async with database.session(token) as session:
        await session.execute(registers())
        assert session.last_route is not None
        return session.last_route.server


def test_a_replica_that_has_caught_up_since_it_was_asked_is_asked_again() -> None:
    async def work(_: World, database: Database) -> None:
        await asyncio.sleep(0.5)
        token = await raised(database)
        await asyncio.sleep(0.2)
        assert await served_by(database, token) == "replica-1"

    simulated(work)


def test_whoever_waits_has_it_asked_until_it_has_caught_up() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        replica.paused = True
        token = await raised(database)

        def go_on() -> None:
            replica.paused = False
            replica.wake()

        asyncio.get_running_loop().call_later(0.2, go_on)
        async with database.session(token) as session:
            await session.execute(registers())
            route = session.last_route
            assert route and route.reason is Reason.WAITED
            assert 0.15 < route.waited < 0.4

    simulated(work, max_wait=5)


def test_a_replica_that_is_away_is_not_waited_for() -> None:
    async def work(world: World, database: Database) -> None:
        token = await raised(database)
        world.addresses["replica-1"][0].crash()
        await asyncio.sleep(2)
        async with database.session(token) as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.waited == 0

    simulated(work, max_wait=5)


def test_a_replica_that_was_away_for_a_moment_serves_soon() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        await asyncio.sleep(0.5)
        replica.crash()
        await asyncio.sleep(0.55)
        assert database.last_status()[1].error is not None
        replica.restart()
        await asyncio.sleep(0.3)
        assert await served_by(database) == "replica-1"

    simulated(work)


def test_a_replica_that_does_not_answer_serves_nobody() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        replica.freeze()
        await asyncio.sleep(8)
        assert database.last_status()[1].error == "TimeoutError"
        assert await served_by(database) == "primary"
        replica.thaw()
        await asyncio.sleep(8)
        assert await served_by(database) == "replica-1"

    simulated(work)


def test_a_replica_that_does_not_answer_does_not_hold_up_the_end() -> None:
    async def work(world: World, database: Database) -> None:
        world.addresses["replica-1"][0].freeze()
        await asyncio.sleep(2)  # it has been asked
        clock = asyncio.get_running_loop().time
        began = clock()
        await database.close()
        assert clock() - began < 1.5

    simulated(work)
