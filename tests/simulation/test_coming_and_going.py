"""Replicas that are added, removed and looked up while sessions run."""

import asyncio

import pytest

from orm import Database, Replica
from orm.exceptions import ConfigurationError
from orm.testing.consistency.tables import registers
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.world import World
from tests.simulation.test_found import raised, simulated
from tests.simulation.test_watching import served_by


def test_a_replica_that_is_added_serves_once_its_position_is_known() -> None:
    async def work(world: World, database: Database) -> None:
        await database.remove_replica("replica-1")
        assert await served_by(database) == "primary"
        world.addresses["replica-1"][0].freeze()
        adding = asyncio.create_task(
            database.add_replica(Replica("simulated:///test/replica-1", name="new"))
        )
        await asyncio.sleep(0.5)
        assert await served_by(database) == "primary"
        world.addresses["replica-1"][0].thaw()
        assert await adding == "new"
        assert await served_by(database) == "new"

    simulated(work)


def test_names_are_unique_and_the_primary_stays() -> None:
    async def work(_: World, database: Database) -> None:
        with pytest.raises(ConfigurationError, match="there is a server 'replica-1' already"):
            await database.add_replica(Replica("simulated:///test/replica-1", name="replica-1"))
        for name in ("primary", "nobody"):
            with pytest.raises(ConfigurationError, match="there is no replica"):
                await database.remove_replica(name)

    simulated(work)


def test_a_read_in_flight_on_a_replica_that_is_removed_ends_and_is_not_forgotten() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(1.5)
        server = database.cluster.replicas[0]
        async with database.session() as session:
            replica.slow = 0.5
            reading = asyncio.create_task(session.execute(registers()))
            await asyncio.sleep(0.1)
            removing = asyncio.create_task(database.remove_replica("replica-1"))
            assert (await reading).one().version == 1
            assert session.last_route and session.last_route.server == "replica-1"
            await session.rollback()
            await removing
            assert server.in_use == 0
            token = await session.bookmark()
        async with database.session(token) as session:
            assert (await session.execute(registers())).one().version == 1

    simulated(work)


def test_a_read_that_does_not_end_is_cut_off() -> None:
    async def work(world: World, database: Database) -> None:
        await asyncio.sleep(1.5)
        async with database.session() as session:
            world.addresses["replica-1"][0].slow = 600
            reading = asyncio.create_task(session.execute(registers()))
            await asyncio.sleep(0.1)
            await database.remove_replica("replica-1", drain=0.2)
            assert (await reading).one().version == 0
            assert session.last_route and session.last_route.server == "primary"

    simulated(work)


def test_replicas_are_looked_up_and_followed(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        world = worlds["test"] = World("test", 1, (1, 1), 0.001, samples=False)

        async def discover() -> list[Replica]:
            return [Replica(f"simulated:///test/{one}", name=one) for one in world.listed()]

        def names() -> set[str]:
            return {server.name for server in database.cluster.replicas}

        async with Database("simulated:///test/primary", replicas=discover) as database:
            assert names() == {"replica-1", "replica-2"}
            world.unlisted.add("replica-1.0")
            await asyncio.sleep(6)
            assert names() == {"replica-1", "replica-2"}  # it may be a lapse
            await asyncio.sleep(10)
            assert names() == {"replica-2"}
            world.unlisted.clear()
            world.lookup_fails = True
            await asyncio.sleep(30)
            assert names() == {"replica-2"}
            world.lookup_fails = False
            await asyncio.sleep(6)
            assert names() == {"replica-1", "replica-2"}
        assert "the replicas cannot be looked up, and stay as they are: Temporary" in caplog.text

    VirtualLoop().run(work())  # type: ignore[abstract] # no sockets, processes or signals here
