"""Servers that stop answering for a minute: no read takes long, and none sees less."""

import asyncio
from typing import Any

import pytest

from orm import Database
from orm.servers.connections import Connections
from orm.testing.consistency.tables import registers
from tests.harness.client import TrialHabits
from tests.harness.simulation import Plan, Result, Strike, run
from tests.harness.simulation.link import Link
from tests.harness.simulation.world import World
from tests.simulation.test_found import simulated


def trial(fault: str, on: int, seed: int = 0) -> Result:
    """Three replicas and a primary, one of which is dead for a minute."""
    return run(
        Plan(
            seed=str(seed),
            operations=2_500,
            clients=8,
            latency=0.01,
            replicas=(1, 1, 1),
            strikes=(Strike(fault=fault, after=2.0, on=on, lasts=60.0),),
            habits=TrialHabits(writes=0.2),
        )
    )


@pytest.mark.parametrize("fault", ["freeze", "blackout"])
@pytest.mark.parametrize("on", range(4))
def test_no_read_takes_longer_than_three_seconds(fault: str, on: int) -> None:
    result = trial(fault, on)
    assert not result.violations
    assert result.seconds > 10
    assert result.longest < 3


def test_a_read_that_is_not_cut_off_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "end", lambda _: None)
    assert trial("freeze", 0).longest > 30


def test_a_server_that_is_busy_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A question waits for three seconds, behind all statements that came before it."""
    free, right = 0.0, Link.request

    async def request(link: Link, work: Any, *, late: bool = False) -> Any:
        nonlocal free
        if not link._machine.is_primary:
            now = asyncio.get_running_loop().time()
            free = max(free, now) + 0.2
            await asyncio.sleep(free - now)
        return await right(link, work, late=late)

    async def work(_: World, database: Database) -> None:
        async def read() -> None:
            for _ in range(10):
                async with database.session() as session:
                    await session.execute(registers())

        monkeypatch.setattr(Link, "request", request)
        await asyncio.gather(*(read() for _ in range(15)))
        assert database.cluster.replicas[0].knowledge.error is None

    simulated(work)
    assert "serves no session" not in caplog.text
