"""A slice of the simulated trials: ``python -m tests.harness.simulation`` runs longer."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orm.servers.server import Server
from orm.testing.consistency.timeline import text
from tests.harness.client import TrialHabits
from tests.harness.simulation import Plan, plan, run, smallest
from tests.harness.simulation.__main__ import main
from tests.harness.simulation.loop import Hung, VirtualLoop
from tests.harness.simulation.nemesis import FAULTS
from tests.harness.simulation.store import understood

DIGEST = """\
import hashlib
from tests.harness.simulation import plan, run
print(hashlib.sha256(repr(run(plan(12, 200)).history).encode()).hexdigest())"""


@pytest.mark.parametrize("fault", FAULTS)
def test_sessions_keep_their_promises_under_one_fault(fault: str) -> None:
    for seed in range(2):
        result = run(plan(seed, 300, only=fault))
        assert not result.violations, text(result.violations[0])
        assert result.faults[fault]
        assert sum(o.outcome == "ok" for o in result.history) > 50


def test_sessions_keep_their_promises_under_several() -> None:
    served = set()
    for seed in range(15):
        result = run(plan(seed, 300))
        assert not result.violations, text(result.violations[0])
        served |= {o.server for o in result.history}
    assert served >= {"primary", "replica-1", "replica-2"}


def test_a_seed_is_a_history_in_any_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": hashes},
            check=True,
            capture_output=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(digests) == 1
    assert run(plan(12, 200)).history != run(plan(13, 200)).history


def test_long_runs_have_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = CliRunner().invoke(main, "--seed 5 --operations 300 --each 100".split())
    assert good.exit_code == 0, good.output
    assert "no violation" in good.output
    monkeypatch.setattr(Server, "covers", lambda *_: True)
    monkeypatch.setattr(
        "orm.routing.placement.ReadPlacement._may_read", lambda _r, _u, _s, c: bool(c.begin())
    )
    bad = CliRunner().invoke(
        main, ["--seed", "5", "--only", "lag", "--shrink", "--output", str(tmp_path)]
    )
    assert bad.exit_code == 1, bad.output
    assert "as small as it gets: Plan(seed=" in bad.output
    assert len(list(tmp_path.iterdir())) == 2


def test_a_trial_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "covers", lambda *_: True)
    monkeypatch.setattr(
        "orm.routing.placement.ReadPlacement._may_read", lambda _r, _u, _s, c: bool(c.begin())
    )
    trial = Plan(
        seed="1", operations=400, faults=("lag", "pause"), habits=TrialHabits(cancels=0.05)
    )
    small = smallest(trial)
    assert small.operations < 200
    assert small.strikes is not None
    assert len(small.strikes) < 3
    assert run(small).violations


def test_a_session_that_waits_for_nothing_is_found() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Hung):
        VirtualLoop().run(wait())


def test_time_passes_at_once_and_in_order() -> None:
    loop = VirtualLoop()
    seen: list[tuple[str, float]] = []

    async def nap(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    async def all_of_them() -> None:
        async with asyncio.timeout(4000):
            await asyncio.gather(nap("c", 3600), nap("a", 60), nap("b", 60))

    loop.run(all_of_them())
    assert seen == [("a", 60), ("b", 60), ("c", 3600)]


def test_statements_that_are_not_the_workload_s_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="do not understand: DELETE"):
        understood("DELETE FROM orm_verify_log")
