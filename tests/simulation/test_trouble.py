"""Servers and the network in trouble at one chosen moment, and what sessions make of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from orm import Database, NotCaughtUp, WriteLost
from orm._greenlet import await_
from orm.session import RoutedSession
from orm.testing.consistency.tables import RAISE, registers
from tests.harness.cancel import CutOff, cancelled_at
from tests.harness.simulation.world import Machine, World
from tests.simulation.test_found import raised, simulated

ONE = {"of": 0, "by": "test"}


@contextmanager
def after_commit(do: Callable[[], object]) -> Iterator[None]:
    """Between COMMIT and the question where it lies."""

    def committed(_: object) -> None:
        do()

    event.listen(RoutedSession, "after_commit", committed, insert=True)
    try:
        yield
    finally:
        event.remove(RoutedSession, "after_commit", committed)


def test_a_commit_that_cannot_be_located_stands_and_is_read() -> None:
    async def work(world: World, database: Database) -> None:
        world.addresses["replica-1"][0].paused = True
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            with after_commit(lambda: setattr(world, "drops", 1.0)):
                await session.commit()
            world.drops = 0.0
            assert (await session.execute(registers())).one().version == 1
            token = await session.bookmark()
        async with database.session(token) as session:
            assert (await session.execute(registers())).one().version == 1

    simulated(work, samples=True)


def test_a_task_that_is_cancelled_after_its_commit_hears_of_it() -> None:
    async def work(world: World, database: Database) -> None:
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            asking = False

            def begins() -> None:
                nonlocal asking
                asking = True

            with after_commit(begins), pytest.raises(CutOff):
                await cancelled_at(session.commit(), 1, lambda: asking)
            assert world.primary.store.commits == 1
            await session.rollback()
            assert (await session.execute(registers())).one().version == 1

    simulated(work, samples=True)


def test_a_task_that_is_cancelled_twice_after_its_commit_hears_of_it_once() -> None:
    """The second time while the transaction's other connection is given back."""

    async def work(_: World, database: Database) -> None:
        guest = create_async_engine("simulated:///test/primary", connect_args={"writes": False})
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            await session.execute(registers(), bind_arguments={"bind": guest.sync_engine})
            asking = False

            def begins() -> None:
                nonlocal asking
                asking = True

            once = cancelled_at(session.commit(), 1, lambda: asking)
            with after_commit(begins), pytest.raises(CutOff):
                await cancelled_at(once, 2, lambda: asking)
            await session.rollback()
            assert (await session.execute(registers())).one().version == 1
        await guest.dispose()

    simulated(work, samples=True)


def test_a_write_that_fails_is_not_sent_again_after_a_read_elsewhere() -> None:
    async def work(world: World, database: Database) -> None:
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "replica"
            await session.connection()
            world.drops = 1.0
            with pytest.raises(DBAPIError, match="connection reset") as caught:
                await session.execute(RAISE, ONE)
            assert not hasattr(caught.value, "__notes__")  # that the primary has changed, say
            world.drops = 0.0

    simulated(work)


def test_a_replica_that_cancels_a_statement_serves_no_session_until_it_answers() -> None:
    async def work(world: World, database: Database) -> None:
        await asyncio.sleep(0.5)  # between two probes
        world.conflicts = 1.0
        async with database.session() as session:
            await session.execute(registers())
        world.conflicts = 0.0
        assert (
            database.last_status()[1].error == "canceling statement due to conflict with recovery"
        )
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "primary"
        await asyncio.sleep(2)
        async with database.session() as session:
            await session.execute(registers())
            assert session.last_route and session.last_route.role == "replica"

    simulated(work)


def test_a_write_that_begins_while_the_primary_is_replaced_is_not_made_on_the_old_one() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)

        def replaced(*_: object) -> None:
            new.promote()
            await_(database.status())
            assert database.cluster.primary.name == "replica-1"

        event.listen(database.cluster.writer.sync_engine, "checkout", replaced, once=True)
        async with database.session() as session:
            for _ in range(2):
                with pytest.raises((NotCaughtUp, InvalidRequestError)):
                    await session.execute(RAISE, ONE)
            with suppress(InvalidRequestError):
                await session.commit()
        assert old.store.commits == 1
        await asyncio.sleep(0.1)
        await raised(database)
        assert (old.store.commits, new.store.commits) == (1, 2)

    simulated(work)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("what", ["write", "read", "write after a read"])
@pytest.mark.parametrize("old_one", ["follows the new one", "is gone"])
def test_who_meets_an_old_primary_has_the_new_one_looked_for_at_once(
    old_one: str, what: str, pooled: bool
) -> None:
    """And not only when its turn to be asked comes."""

    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(0.5)
        new.promote()
        if old_one == "is gone":
            old.crash()
        else:
            old.follow(new)

        async def meets() -> None:
            if what == "write":
                await raised(database)
                return
            start = "first-primary" if what == "read" else None
            async with database.session(start) as session:
                await session.execute(registers())
                if what != "read":
                    await session.execute(RAISE, ONE)

        with suppress(DBAPIError, NotCaughtUp):
            await meets()
        await asyncio.sleep(0.1)
        await meets()
        assert database.cluster.primary.name == "replica-1"

    simulated(work, engine_options={} if pooled else {"poolclass": NullPool})


def test_a_replica_that_is_found_to_be_the_primary_by_a_read_may_restart() -> None:
    async def work(world: World, database: Database) -> None:
        old, (new,) = world.primary, world.addresses["replica-1"]
        await asyncio.sleep(0.5)
        old.crash()
        new.crash()
        new.restart()
        new.promote()
        async with database.session() as session:
            await session.execute(registers())
            assert database.cluster.primary.name == "replica-1"
            await session.rollback()
            new.crash()
            new.restart()
            await session.bookmark()

    simulated(work, engine_options={"poolclass": NullPool})


@pytest.mark.parametrize("what", ["write", "read"])
def test_what_was_lost_is_said_when_the_primary_s_name_leads_to_another_one(what: str) -> None:
    async def work(world: World, database: Database) -> None:
        standby = Machine(world, "standby", world.primary.store, world.primary)
        standby.partitioned = True
        async with database.session() as session:
            await session.execute(RAISE, ONE)
            await session.commit()
            standby.promote()
            world.addresses["primary"] = [standby]
            with pytest.raises(WriteLost):
                await session.execute(*((RAISE, ONE) if what == "write" else (registers(),)))

    simulated(work, (), engine_options={"poolclass": NullPool})


def test_a_replica_of_a_primary_that_was_replaced_is_not_believed() -> None:
    async def work(world: World, database: Database) -> None:
        [new], [other] = world.addresses["replica-1"], world.addresses["replica-2"]
        new.partitioned = True
        token = await raised(database)
        await asyncio.sleep(1.5)
        assert other.said == 1
        new.promote()
        [server] = [one for one in database.cluster.replicas if one.name == "replica-1"]
        await server.probe()
        assert database.cluster.primary is server
        with pytest.raises(WriteLost):
            async with database.session(token) as session:
                await session.execute(registers())

    simulated(work, (1, 1))


def test_a_replica_that_failed_is_not_read_from_as_the_primary_in_the_same_transaction() -> None:
    async def work(world: World, database: Database) -> None:
        [new] = world.addresses["replica-1"]
        [server] = database.cluster.replicas
        world.conflicts = 1.0

        def replaced(*_: object) -> None:
            new.promote()
            await_(database.status())
            assert database.cluster.primary is server

        old = database.cluster.primary.engine.sync_engine
        event.listen(old, "checkout", replaced, once=True)
        async with database.session() as session:
            with pytest.raises(NotCaughtUp):
                await session.execute(registers())
            await session.rollback()
            assert (await session.execute(registers())).one().version == 0

    simulated(work)


def test_who_has_seen_more_does_not_read_from_a_replica_that_restarted_in_its_past() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        await raised(database)
        await asyncio.sleep(1.5)
        async with database.session() as session:
            assert (await session.execute(registers())).one().version == 1
            assert session.last_route and session.last_route.role == "replica"
            await session.rollback()
            replica.paused, replica.durable = True, 0
            replica.crash()
            replica.restart()
            await asyncio.sleep(2)
            async with database.session() as other:
                assert (await other.execute(registers())).one().version == 0
            assert (await session.execute(registers())).one().version == 1

    simulated(work, engine_options={"poolclass": NullPool})


def test_a_snapshot_is_later_than_the_answer_that_it_rests_on() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        token = await raised(database)
        await asyncio.sleep(1.1)
        assert replica.said == 1
        replica.paused, replica.durable = True, 0
        replica.crash()
        replica.restart()
        replica.slow = 0.2  # to connect, to begin, to say where it is

        def go_on() -> None:
            replica.paused = False
            replica.wake()

        asyncio.get_running_loop().call_later(0.45, go_on)
        async with database.session(token) as session, session.begin(read_only=True):
            assert (await session.execute(registers())).one().version == 1
            assert session.last_route and session.last_route.role == "replica"

    simulated(work, engine_options={"poolclass": NullPool})
