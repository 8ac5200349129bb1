"""Servers that stop answering for a minute: no read takes long, and none sees less."""

import pytest

from orm.servers.connections import Connections
from tests.harness.client import TrialHabits
from tests.harness.simulation import Plan, Result, Strike, run


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
