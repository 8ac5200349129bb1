"""Runs lives (`life`) in processes of their own, and kills some of them."""

import asyncio
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import event

from orm.database import Database
from orm.session import RoutedSession
from orm.testing.consistency.history import History
from orm.testing.consistency.recorder import Recorder, collect
from tests.harness.client import TrialHabits
from tests.harness.trials.life import Plan, Servers, fewer, live

__all__ = ["GO_ON", "run_processes"]

GO_ON: Final = "go-on"
"""While a file of this name is in the folder, clients go on after their share of operations."""

_CHECKOUT: Final = Path(__file__).parents[3]  # `python -m` finds this package from here
_Death: TypeAlias = Literal["", "before COMMIT", "in COMMIT", "after COMMIT"]


async def run_processes(
    trial: Plan, servers: Sequence[Servers], folder: Path
) -> tuple[History, Counter[str]]:
    """Divide a trial among processes, and collect what they wrote down and survived.

    Args:
        trial: what they do.
        servers: which ones they use, in turn.
        folder: where they write.
    """
    chance = random.Random(f"{trial.seed}/kills")
    faults: Counter[str] = Counter()
    share = trial.operations // trial.processes
    async with asyncio.TaskGroup() as group:
        for number in range(trial.processes):
            victim = trial.kills and number > 0
            group.create_task(
                _keep_alive(
                    trial,
                    servers[number % len(servers)],
                    folder,
                    number,
                    share,
                    victim,
                    chance,
                    faults,
                )
            )
    return await asyncio.to_thread(lambda: collect(folder.glob("*.history"))), faults


async def _keep_alive(
    trial: Plan,
    servers: Servers,
    folder: Path,
    number: int,
    operations: int,
    victim: bool,
    chance: random.Random,
    faults: Counter[str],
) -> None:
    """A process, and after its death another one, until their share of operations is done."""
    done = life = 0
    while done < operations:
        life += 1
        name = f"P{number}L{life}"
        file = folder / f"{name}.history"
        deaths: list[_Death] = ["before COMMIT", "in COMMIT", "after COMMIT"]
        if life > 1:
            deaths.append("")  # at any moment; the first life might be over by then
        death = chance.choice(deaths) if victim else ""
        order = asdict(trial) | {"faults": list(trial.faults), "operations": operations - done}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.harness.trials.processes",
            json.dumps(asdict(servers)), str(folder), name, death, json.dumps(order),
            str(os.getpid()), cwd=_CHECKOUT,
        )  # fmt: skip
        try:
            if victim and not death:
                try:
                    await asyncio.wait_for(process.wait(), chance.uniform(1.0, 4.0))
                except TimeoutError:
                    process.kill()
            code = await process.wait()
        except BaseException:
            process.kill()
            raise
        if code == -signal.SIGKILL and victim:
            faults[f"kill {death}".strip()] += 1
        elif code:
            raise RuntimeError(f"the process {name} ended with {code}")
        done += len(collect([file])) if file.exists() else 0


def _die(database: Database, death: _Death, chance: random.Random) -> None:
    """Have this process killed at one of its commits, if it is to die."""
    if not death:
        return
    left = chance.randint(1, 8)

    def at_commit(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            threading.Timer(
                chance.uniform(0, 0.001) if death == "in COMMIT" else 0.0,
                lambda: os.kill(os.getpid(), signal.SIGKILL),
            ).start()
            if death != "in COMMIT":
                threading.Event().wait()  # nothing more happens in this thread

    target: Any = database.cluster.writer.sync_engine
    if death == "after COMMIT":
        event.listen(RoutedSession, "after_commit", at_commit)
    else:
        event.listen(target, "commit", at_commit)


async def _process(
    servers: Servers, folder: Path, name: str, death: _Death, order: dict[str, Any], parent: int
) -> None:
    order["habits"] = TrialHabits(**order["habits"])
    trial = Plan(**order)
    recorder = Recorder(folder / f"{name}.history")
    dies = partial(_die, death=death, chance=random.Random(f"{trial.seed}/{name}/death"))
    wanted = folder / GO_ON

    def go_on() -> bool:
        if os.getppid() != parent:
            return False  # it was killed, and with it the servers and the nemesis
        return fewer(recorder, trial.operations) or wanted.exists()

    try:
        await live(trial, servers, folder, name, recorder, go_on, Counter(), dies)
    finally:
        recorder.close()


if __name__ == "__main__":
    _, servers_, folder_, name_, death_, order_, parent_ = sys.argv
    asyncio.run(
        _process(
            Servers(**json.loads(servers_)),
            Path(folder_),
            name_,
            death_,  # type: ignore[arg-type]
            json.loads(order_),
            int(parent_),
        )
    )
