"""One trial: clients and a nemesis on a database of its own, then the audit and the verdict."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from orm.database import Database
from orm.testing.consistency.audit import audit
from orm.testing.consistency.checker import Violation, check
from orm.testing.consistency.history import History
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.tables import create
from tests.harness.client import TrialHabits
from tests.harness.trials.life import Plan, Servers, fewer, live
from tests.harness.trials.nemesis import FAULTS
from tests.harness.trials.processes import run_processes

__all__ = ["Plan", "Result", "plan", "run"]

_PROCESSES: Final = 3

_UNSOUND: Final = frozenset({"truncate"})
"""The faults after which anything may be read until the damage is noticed: SQLite's pages have no
checksums, and one that was cut in two reads as rows of zeros. They are to be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a trial.

    Attributes:
        history: all operations.
        violations: of the guarantees; the shortest first.
        faults: how often each was done.
        seconds: how long the clients ran.
    """

    history: History
    violations: list[Violation]
    faults: Counter[str]
    seconds: float


def plan(seed: int, operations: int, *, only: str | None = None) -> Plan:
    """A plan from a seed: one fault, several or none, in one process or several.

    Args:
        seed: of all chances.
        operations: about how many.
        only: of `FAULTS` or ``"kill"``: this fault and no other.
    """
    chance = random.Random(f"plan/{seed}")
    mixed = [fault for fault in FAULTS if fault not in _UNSOUND]
    some = chance.sample(mixed, k=chance.choice([0, 1, 1, 3, len(mixed)]))
    kills = chance.random() < 0.12
    if only is not None:
        some, kills = ([], True) if only == "kill" else ([only], False)
    options: dict[str, Any] = {"max_wait": chance.choice([0.0, 0.02, 0.05])}
    if chance.random() < 0.3:
        options["engine_options"] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
    if chance.random() < 0.3:
        options["bookmark_keys"] = ["a secret of this trial"]
    return Plan(
        seed=str(seed),
        operations=operations,
        clients=chance.choice([2, 4, 8]),
        processes=_PROCESSES if kills or (only is None and chance.random() < 0.1) else 0,
        lives=chance.choice([1, 2, 3]),
        faults=tuple(some),
        kills=kills,
        habits=TrialHabits(
            keys=chance.choice([2, 8]),
            writes=chance.choice([0.15, 0.35, 0.6]),
            cancels=chance.choice([0.0, 0.05, 0.3]),
            forges=chance.random() < 0.5,
        ),
        options=options,
    )


async def run(trial: Plan, folder: Path) -> Result:
    """Run it in an empty folder.

    Raises:
        Exception: whatever is neither a database's error nor one of ours has been raised.
    """
    url = f"sqlite+aiosqlite:///{folder}/app.db"
    async with Database(url) as database, database.connect() as connection:
        await connection.run_sync(create, trial.habits.keys)
        await connection.commit()
    began = monotonic()
    if trial.processes:
        history, faults = await run_processes(trial, [Servers(url)], folder)
    else:
        history, faults = await _run_here(trial, url, folder)
    seconds = monotonic() - began
    recorder = Recorder()
    async with Database(url) as database:
        await audit(database, recorder)
    history += recorder.history()
    violations = await asyncio.to_thread(check, history)
    return Result(history=history, violations=violations, faults=faults, seconds=seconds)


async def _run_here(trial: Plan, url: str, folder: Path) -> tuple[History, Counter[str]]:
    recorder = Recorder()
    faults: Counter[str] = Counter()
    for life in range(1, trial.lives + 1):
        most = trial.operations * life // trial.lives
        go_on = partial(fewer, recorder, most)
        await live(trial, Servers(url), folder, f"L{life}", recorder, go_on, faults)
    return recorder.history(), faults
