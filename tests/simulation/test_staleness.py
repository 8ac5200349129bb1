"""How far behind a replica may be that serves, in seconds."""

import asyncio
import logging
import random

import pytest

from orm import Database, NotCaughtUp
from orm.exceptions import ConfigurationError
from orm.routing.placement import ReadPlacement
from orm.testing.consistency.tables import registers
from orm.web.asgi import Message
from orm.web.live import send_live
from tests.harness.simulation.world import World
from tests.simulation.test_found import raised, simulated

SLACK = 0.1  # seconds that requests may travel


async def read(database: Database, **options: float) -> tuple[int, str]:
    """The version that a session without a bookmark sees, and who served it."""
    async with database.session(**options) as session:
        version: int = (await session.execute(registers())).one().version
        assert session.last_route is not None
        return version, session.last_route.server


def too_old(seed: int) -> list[str]:
    """Reads that saw less than the primary had `max_staleness` before, on replicas that stall."""
    found: list[str] = []
    chance = random.Random(seed)

    async def work(world: World, database: Database) -> None:
        loop = asyncio.get_running_loop()
        written = [(0.0, 0)]
        until = loop.time() + 120

        async def write() -> None:
            while loop.time() < until:
                await raised(database)
                written.append((loop.time(), world.primary.store.commits))
                # Idle at times, for longer than the bound
                await asyncio.sleep(chance.choice([0.05, 0.05, 0.05, 7.0]))

        async def stall() -> None:
            while loop.time() < until:
                replica = chance.choice(world.others)
                replica.paused = True
                await asyncio.sleep(chance.uniform(0, 12))
                replica.paused = False
                replica.wake()

        async def look() -> None:
            while loop.time() < until:
                began = loop.time()
                version, server = await read(database)
                had = max(v for when, v in written if when <= began - 3 - SLACK or when == 0)
                if version < had:
                    found.append(f"{server}: {version} < {had}")
                await asyncio.sleep(chance.uniform(0, 0.3))

        async with asyncio.TaskGroup() as group:
            for task in (write, stall, look):
                group.create_task(task())

    simulated(work, (1, 1), max_staleness=3)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_no_read_is_older_than_it_may_be(seed: int) -> None:
    assert too_old(seed) == []


def test_a_bound_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadPlacement, "_need", lambda self: self._memory.bookmark)
    assert too_old(0)


def test_an_idle_primary_makes_no_replica_old() -> None:
    async def work(_: World, database: Database) -> None:
        await raised(database)
        await asyncio.sleep(3600)
        assert await read(database) == (1, "replica-1")
        assert database.last_status()[1].seconds == 0

    simulated(work, max_staleness=2)


def test_while_the_primary_cannot_be_asked_no_replica_is_new_enough_for_long() -> None:
    async def work(world: World, database: Database) -> None:
        await asyncio.sleep(2)
        world.primary.freeze()
        await asyncio.sleep(2)
        assert (await read(database))[1] == "replica-1"
        await asyncio.sleep(60)
        with pytest.raises(
            NotCaughtUp, match=r"at most 5 s behind \(max_staleness\), since the pr"
        ):
            await read(database)
        world.primary.thaw()
        await asyncio.sleep(10)
        assert (await read(database))[1] == "replica-1"

    simulated(work, max_staleness=5)


def test_a_session_may_have_a_bound_of_its_own() -> None:
    async def work(world: World, database: Database) -> None:
        world.addresses["replica-1"][0].paused = True
        await raised(database)
        await asyncio.sleep(8)
        assert await read(database) == (0, "replica-1")
        assert await read(database, max_staleness=60) == (0, "replica-1")
        assert await read(database, max_staleness=5) == (1, "primary")
        with pytest.raises(ConfigurationError, match="2 seconds or more"):
            database.session(max_staleness=1)

    simulated(work)


def test_a_replica_far_behind_is_logged_once_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="orm.cluster")

    async def work(world: World, database: Database) -> None:
        replica = world.addresses["replica-1"][0]
        replica.paused = True
        await raised(database)
        await asyncio.sleep(700)
        [_, status] = database.last_status()
        assert status.seconds and 690 < status.seconds < 711
        replica.paused = False
        replica.wake()
        await asyncio.sleep(12)

    simulated(work)
    assert [record.getMessage() for record in caplog.records] == [
        "replica-1 is more than 10 minutes behind the primary",
        "replica-1 is behind no longer",
    ]


def test_servers_that_nobody_uses_are_asked_often_while_the_status_page_is_open() -> None:
    async def work(_: World, database: Database) -> None:
        clock, sent = asyncio.get_running_loop().time, asyncio.Event()

        async def send(_: Message) -> None:
            sent.set()

        async def receive() -> Message:
            await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        cluster = database.cluster
        await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_live(database, receive, send))
            await sent.wait()
            await asyncio.sleep(3)
            for _second in range(20):
                await asyncio.sleep(1)
                ages = [clock() - one.asked_at for one in (cluster.primary, *cluster.replicas)]
                assert max(ages) < 2

    simulated(work, (1, 1))
