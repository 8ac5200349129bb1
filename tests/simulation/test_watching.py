"""What is learnt of each server, and when."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection

from orm import Bookmark, Database, Reason
from orm._greenlet import await_
from orm.servers.server import Server
from orm.testing.consistency.tables import registers
from tests.harness.simulation.backend import SimulatedBackend, bookmark_of
from tests.harness.simulation.link import link_of
from tests.harness.simulation.world import World
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


def test_a_replica_is_asked_for_a_session_that_waits_until_it_has_caught_up() -> None:
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
        assert database.cluster.watcher.waiting == 0

    simulated(work, max_wait=5)


class Waiting:
    """What replicas are asked to wait for, as those of PostgreSQL 19 can be, and until when."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[Bookmark] = []
        self.until = 0.0
        self.can = True
        self.says_at_once = False
        patch.setattr(SimulatedBackend, "wait_until", self._reach)

    def _reach(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        machine = link_of(connection)._machine
        self.asked.append(need)
        assert not bookmark_of(*machine.position()).covers(need)
        assert 0 < seconds <= 0.02
        if not self.can:
            return False
        if not self.says_at_once:
            self.until = asyncio.get_running_loop().time() + seconds
            await_(asyncio.sleep(seconds + 0.001))  # it does not wake before its time
        return True


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_replica_that_can_wait_waits_for_the_least_that_is_needed_and_not_longer(
    monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    async def work(world: World, database: Database) -> None:
        waiting = Waiting(monkeypatch)
        [replica] = world.addresses["replica-1"]
        replica.paused = True
        tokens = [await raised(database) for _ in range(2)]
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.25
        if goes_on:
            loop.call_later(0.15, lambda: (setattr(replica, "paused", False), replica.wake()))
        servers = await asyncio.gather(*(served_by(database, t) for t in reversed(tokens)))
        assert servers == (["replica-1"] * 2 if goes_on else ["primary"] * 2)
        assert len(waiting.asked) > 5
        assert waiting.asked[0].encode() == tokens[0]
        assert goes_on or {need.encode() for need in waiting.asked} == {tokens[0]}
        assert waiting.until < until + 0.005

    simulated(work, max_wait=0.25)


def test_a_replica_that_cannot_wait_is_asked_to_once_in_a_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(world: World, database: Database) -> None:
        waiting = Waiting(monkeypatch)
        waiting.can = False
        [replica] = world.addresses["replica-1"]
        for start in (1, 2):
            replica.paused = True
            assert await served_by(database, await raised(database)) == "primary"
            assert len(waiting.asked) == start
            replica.paused = False
            replica.crash()
            replica.restart()
            await asyncio.sleep(2)

    simulated(work, max_wait=0.25)


def test_a_replica_that_says_wrongly_that_it_is_there_is_asked_to_wait_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is so far on another timeline, say."""

    async def work(world: World, database: Database) -> None:
        waiting = Waiting(monkeypatch)
        waiting.says_at_once = True
        world.addresses["replica-1"][0].paused = True
        assert await served_by(database, await raised(database)) == "primary"
        assert len(waiting.asked) == 1

    simulated(work, max_wait=0.25)


@pytest.mark.parametrize("in_vain", [False, True])
def test_a_replica_that_is_away_is_not_waited_for(in_vain: bool) -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        replica.paused = True
        token = await raised(database)
        if in_vain:
            await served_by(database, token)
        replica.crash()
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


def test_a_replica_of_a_new_primary_serves_soon() -> None:
    async def work(world: World, database: Database) -> None:
        [new], [other] = world.addresses["replica-1"], world.addresses["replica-2"]
        await asyncio.sleep(1.5)
        new.promote()
        other.follow(new)
        await asyncio.sleep(0.1)
        [server] = [one for one in database.cluster.replicas if one.name == "replica-1"]
        await server.probe()
        assert database.cluster.primary is server
        await asyncio.sleep(0.1)
        assert await served_by(database) == "replica-2"

    simulated(work, (1, 1))


def test_a_replica_that_does_not_answer_serves_no_session() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        replica.freeze()
        await asyncio.sleep(8)
        assert database.last_status()[1].error
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


def test_a_probe_that_is_under_way_may_finish_at_the_end() -> None:
    async def work(world: World, database: Database) -> None:
        world.addresses["replica-1"][0].slow = 0.3
        await asyncio.sleep(2)
        database.cluster.watcher.nudge()
        await asyncio.sleep(0.1)
        clock = asyncio.get_running_loop().time
        began = clock()
        await database.close()
        assert 0.1 < clock() - began < 0.8

    simulated(work)


def test_the_end_comes_at_once_where_nothing_is_under_way() -> None:
    async def work(_: World, database: Database) -> None:
        await asyncio.sleep(0.5)
        clock = asyncio.get_running_loop().time
        began = clock()
        await database.close()
        assert clock() - began < 0.1

    simulated(work)


def test_what_has_ended_the_watching_is_raised_at_the_end_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(_: World, database: Database) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(SimulatedBackend, "position", lambda *_: 1 / 0)
            await asyncio.sleep(2)
        with pytest.raises(ZeroDivisionError):
            await database.close()
        await database.close()

    simulated(work)


def test_servers_are_asked_often_while_they_are_used_and_seldom_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(_: World, database: Database) -> None:
        asked = 0
        right = Server.ask

        def ask(self: Server, connection: Connection) -> Any:
            nonlocal asked
            asked += 1
            return right(self, connection)

        monkeypatch.setattr(Server, "ask", ask)
        await asyncio.sleep(60)
        asked = 0
        await asyncio.sleep(60)
        assert 2 * 5 <= asked <= 2 * 7
        asked = 0
        for _ in range(60):
            await served_by(database)
            await asyncio.sleep(1)
        assert 55 + 5 <= asked <= 65 + 7

    simulated(work)


def test_a_server_that_died_unnoticed_is_noticed_soon_once_it_is_used() -> None:
    async def work(world: World, database: Database) -> None:
        await asyncio.sleep(60)
        world.addresses["replica-1"][0].freeze()
        clock = asyncio.get_running_loop().time
        began = clock()
        assert await served_by(database) == "primary"
        assert clock() - began < 2.5

    simulated(work)


def test_a_replica_that_was_away_for_long_serves_in_a_while() -> None:
    async def work(world: World, database: Database) -> None:
        [replica] = world.addresses["replica-1"]
        replica.crash()
        await asyncio.sleep(300)
        replica.restart()
        await asyncio.sleep(5.5)
        assert await served_by(database) == "replica-1"

    simulated(work)
