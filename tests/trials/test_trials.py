"""A slice of the trials, with fixed seeds: ``python -m tests.harness.trials`` runs longer."""

import asyncio
import os
import select
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.timeline import text
from tests.harness.cancel import CutOff, cancelled_at
from tests.harness.trials import life
from tests.harness.trials.__main__ import main
from tests.harness.trials.nemesis import FAULTS
from tests.harness.trials.trial import plan, run

# The pool forgets a connection while it is cancelled, and finds it again; see `trial`.
pytestmark = pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning")


@pytest.mark.parametrize("fault", [*(f for f in FAULTS if f != "truncate"), "kill"])
async def test_sessions_keep_their_promises_under_one_fault(fault: str, tmp_path: Path) -> None:
    result = await run(plan(1, 400, only=fault), tmp_path)
    assert not result.violations, text(result.violations[0])
    assert any(name.startswith(fault) for name in result.faults)
    assert sum(o.outcome == "ok" for o in result.history) > 200


@pytest.mark.parametrize("seed", [7, 23, 48])
async def test_sessions_keep_their_promises_under_several(seed: int, tmp_path: Path) -> None:
    result = await run(plan(seed, 800), tmp_path)
    assert not result.violations, text(result.violations[0])


async def test_a_truncated_replica_stops_no_session(tmp_path: Path) -> None:
    result = await run(plan(2, 500, only="truncate"), tmp_path)
    assert sum(o.outcome == "ok" for o in result.history) > 300


def test_long_runs_have_a_command() -> None:
    result = CliRunner().invoke(main, "--seed 5 --operations 200 --each 200 --only lag".split())
    assert result.exit_code == 0, result.output
    assert "next seed 6: no violation" in result.output


def test_clients_end_when_what_started_them_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.harness.trials", "--only", "kill"]
    endless = ["--each", "1000000", "--operations", "1000000"]
    with subprocess.Popen(
        [*command, *endless], env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as process:
        clients = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not any(tmp_path.rglob("P0*.history")):
            assert process.poll() is None
        ends = [os.pidfd_open(int(pid)) for pid in clients.read_text().split()]
        process.kill()
    assert ends
    for end in ends:
        ended, _, _ = select.select([end], [], [], 60)
        assert ended
        os.close(end)


async def test_servers_that_are_not_there_end_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_PATIENCE", 0.1)
    nowhere = life.Servers("postgresql+asyncpg://127.0.0.1:1/nowhere", [])
    trial = replace(plan(1, 400, only="kill"), options={})
    lived = life.live(trial, nowhere, tmp_path, "L", Recorder(), lambda: True, Counter())
    with pytest.raises(RuntimeError, match="check its servers"):
        await asyncio.wait_for(lived, 60)


@pytest.mark.parametrize(("number", "reached"), [(1, 0), (3, 2), (9, 4)])
async def test_work_is_cancelled_at_one_of_its_awaits(number: int, reached: int) -> None:
    done = 0

    async def work() -> str:
        nonlocal done
        for _ in range(4):
            await asyncio.sleep(0.001)
            done += 1
        return "done"

    if reached == 4:
        assert await cancelled_at(work(), number) == "done"
    else:
        with pytest.raises(CutOff):
            await cancelled_at(work(), number)
    assert done == reached
    await asyncio.sleep(0)  # the task itself goes on
