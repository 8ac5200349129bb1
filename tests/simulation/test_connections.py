"""Connections for reads: when they are given up, and their places in the pools."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from orm import Database, Reason
from orm.exceptions import ConfigurationError
from orm.servers.connections import Connections
from orm.servers.timing import Limits
from orm.testing.consistency.tables import RAISE, registers
from tests.harness.simulation.backend import SimulatedBackend
from tests.harness.simulation.link import Link, Recovering
from tests.harness.simulation.world import Machine, World
from tests.simulation.test_found import raised, simulated

ONE = {"of": 0, "by": "test"}


def test_a_read_that_a_replica_cancelled_has_left_its_place_in_the_pool() -> None:
    async def work(world: World, database: Database) -> None:
        await asyncio.sleep(0.5)
        world.conflicts = 1.0
        clock = asyncio.get_running_loop().time
        began = clock()
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "primary"
        assert clock() - began < 1  # and not as long as the pool has patience

    simulated(work, engine_options={"pool_size": 1, "max_overflow": 0})


def test_a_read_is_sent_again_once_on_a_connection_that_was_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(world: World, database: Database) -> None:
        world.conflicts = 1.0
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "primary"

    renewed: list[object] = []

    def renew(_: SimulatedBackend, *which: object) -> bool:
        renewed.append(which)
        assert len(renewed) == 1
        return True

    monkeypatch.setattr(SimulatedBackend, "renew", renew)
    simulated(work)


def test_a_connection_to_an_old_primary_is_not_taken_again() -> None:
    async def work(world: World, database: Database) -> None:
        async with database.session("first-primary") as session:
            await session.execute(registers())  # whose connection goes on leading to the old one
        new = Machine(world, "new", world.primary.store, world.primary)
        new.promote()
        world.addresses["primary"] = [new]
        await database.cluster.writer.dispose()
        await raised(database)
        async with database.session("first-primary") as session:
            assert (await session.execute(registers())).one().version == 1
        pool: Any = database.cluster.primary.engine.pool
        assert pool.checkedout() == 0

    simulated(work, ())


@pytest.mark.parametrize("role", ["primary", "replica"])
def test_a_reading_connection_that_is_gone_is_no_trouble_for_a_commit(role: str) -> None:
    async def work(_: World, database: Database) -> None:
        [replica] = database.cluster.replicas
        server = replica if role == "replica" else database.cluster.primary
        links: list[Link] = []
        event.listen(server.engine.sync_engine, "checkout", lambda link, *_: links.append(link))
        async with database.session("first-primary" if role == "primary" else None) as session:
            await session.execute(registers())
            links[0].terminate()
            with suppress(DBAPIError):  # on the primary; from a replica it moves there
                await session.execute(registers())
            await session.execute(RAISE, ONE)
            await session.commit()
            assert (await session.execute(registers())).one().version == 1

    simulated(work)


@pytest.mark.parametrize("role", ["primary", "replica"])
def test_a_read_from_a_server_that_may_not_be_asked_gives_its_connection_back(
    monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    def refused(*_: object) -> None:
        raise ConfigurationError("the account may not see where it is")

    async def work(world: World, database: Database) -> None:
        [replica] = database.cluster.replicas
        server = replica if role == "replica" else database.cluster.primary
        [machine] = world.addresses["replica-1" if role == "replica" else "primary"]
        machine.crash()
        machine.restart()
        await server.engine.dispose()  # so that the next connection leads to who is not known
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedBackend, "position", refused)
            with pytest.raises(ConfigurationError):
                async with database.session("first-primary" if role == "primary" else None) as one:
                    await one.execute(registers())
            await server.probe()
            assert server.knowledge.error == "the account may not see where it is"
        pool: Any = server.engine.pool
        assert pool.checkedout() == 0

    simulated(work)


def test_a_crowded_pool_is_waited_for_once() -> None:
    async def work(_: World, database: Database) -> None:
        async with database.session() as one, database.session() as other:
            for session in (one, other):
                await one.rollback()
                await session.execute(registers())
                assert session.last_route and session.last_route.role == "replica"
            clock = asyncio.get_running_loop().time
            began = clock()
            await one.execute(registers())
            assert one.last_route and one.last_route.reason is Reason.CROWDED
            assert clock() - began < 1.5  # what was read there is asked of the primary

    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    simulated(work, engine_options=options)


def test_a_replica_that_does_not_say_where_it_is_is_asked_once() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        await asyncio.sleep(0.5)
        replica.crash()
        replica.restart()
        asked = 0

        def refuses() -> None:
            nonlocal asked
            asked += 1
            raise Recovering("it is not consistent yet")

        replica.position = refuses  # type: ignore[method-assign,assignment]
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "primary"
        assert asked == 1

    simulated(work, engine_options={"poolclass": NullPool})


def test_a_place_in_a_pool_is_waited_for_as_long_as_the_guide_says() -> None:
    """A read goes to another server after 1 s; on the primary the wait ends after 10 s."""

    async def work(_: World, database: Database) -> None:
        clock = asyncio.get_running_loop().time
        async with database.session() as holder, database.session() as session:
            await holder.execute(registers())
            began = clock()
            await session.execute(registers())
            assert session.last_route and session.last_route.reason is Reason.CROWDED
            assert 1.0 <= clock() - began < 1.1
        for statement, arguments in ((registers(), {}), (RAISE, ONE)):  # two pools
            async with database.session("first-primary") as holder:
                await holder.execute(statement, arguments)
                began = clock()
                async with database.session("first-primary") as session:
                    with pytest.raises(PoolTimeout):
                        await session.execute(statement, arguments)
                assert 10.0 <= clock() - began < 10.1

    simulated(work, engine_options={"pool_size": 1, "max_overflow": 0})


@pytest.mark.parametrize(("idle", "made"), [(200, 0), (300, 1)])
def test_a_connection_that_was_idle_for_long_is_made_anew(idle: int, made: int) -> None:
    async def work(_: World, database: Database) -> None:
        async def read() -> None:
            async with database.session() as session:
                await session.execute(registers())
                assert session.last_route and session.last_route.role == "replica"

        await asyncio.sleep(0.5)
        await read()
        new: list[object] = []
        engine = database.cluster.replicas[0].engine.sync_engine
        event.listen(engine, "connect", lambda *connection: new.append(connection))
        await asyncio.sleep(idle)
        await read()
        assert len(new) == made

    simulated(work)


def test_connections_that_reads_have_needed_at_once_are_kept() -> None:
    async def work(_: World, database: Database) -> None:
        async def read() -> None:
            async with database.session("first-primary") as session:
                await session.execute(registers())

        await asyncio.gather(*(read() for _ in range(12)))
        new: list[object] = []
        engine = database.cluster.primary.engine.sync_engine
        event.listen(engine, "connect", lambda *connection: new.append(connection))
        await asyncio.gather(*(read() for _ in range(12)))
        assert not new

    simulated(work)


def test_a_connection_that_was_cut_off_is_not_handed_out() -> None:
    async def work(_: World, __: Database) -> None:
        connections = Connections(SimulatedBackend().network, Limits())
        engine = create_async_engine("simulated:///test/replica-1", connect_args={"writes": False})
        connections.watch(engine)
        async with engine.connect():
            pass
        connections.cut_off("it is dead")
        with pytest.raises(TimeoutError, match="it is dead"):
            await engine.raw_connection()
        connections.restore()
        async with engine.connect() as connection:
            await connection.execute(registers())

    simulated(work)


@pytest.mark.parametrize("cut_off_first", [True, False])
def test_connecting_is_cut_off_in_the_instant_in_which_it_takes_too_long(
    cut_off_first: bool,
) -> None:
    async def work(world: World, _: Database) -> None:
        world.addresses["replica-1"][0].freeze()
        connections = Connections(SimulatedBackend().network, Limits(connect_timeout=0.25))
        engine = create_async_engine("simulated:///test/replica-1", connect_args={"writes": False})
        connections.watch(engine)
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.25
        if cut_off_first:
            loop.call_at(until, connections.cut_off, "it is dead")
        connecting = asyncio.create_task(engine.raw_connection())
        await asyncio.sleep(0)
        if not cut_off_first:
            loop.call_at(until, connections.cut_off, "it is dead")
        with pytest.raises(TimeoutError, match="it is dead"):
            await connecting

    simulated(work)
