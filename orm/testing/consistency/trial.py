"""One trial: clients and a nemesis on a database of its own, then the audit and the verdict."""

import asyncio
import gc
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from orm.database import Database
from orm.exceptions import ReplicaUnavailable
from orm.session import RoutedSession
from orm.testing.consistency.board import Board
from orm.testing.consistency.checker import Violation, check
from orm.testing.consistency.client import Client, Habits, audit
from orm.testing.consistency.history import History
from orm.testing.consistency.nemesis import FAULTS, Nemesis
from orm.testing.consistency.recorder import Recorder, collect
from orm.testing.consistency.tables import create

__all__ = ["Plan", "Result", "plan", "run"]

Death: TypeAlias = Literal["", "before COMMIT", "in COMMIT", "after COMMIT"]

_PROCESSES: Final = 3

_UNSOUND: Final = frozenset({"truncate"})
"""The faults after which anything may be read, until the damage is noticed: SQLite's pages have no
checksums. They are to be asked for."""

_REPLACES: Final = frozenset({"delete", "rebuild", "truncate", "unlink"})
"""The faults after which replicas get new files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trial does; everything follows from its seed.

    Attributes:
        seed: of all chances.
        operations: about how many.
        clients: tasks of each process.
        processes: 0 if all runs in this one.
        lives: how often the Database is started, one after the other.
        faults: of `FAULTS`.
        kills: whether processes are killed with SIGKILL.
        habits: of the clients.
        options: of the `Database`.
    """

    seed: str
    operations: int
    clients: int = 4
    processes: int = 0
    lives: int = 2
    faults: tuple[str, ...] = ()
    kills: bool = False
    habits: Habits = field(default_factory=Habits)
    options: dict[str, Any] = field(default_factory=dict)


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
        habits=Habits(
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
        history, faults = await _run_processes(trial, url, folder)
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
        go_on = partial(_fewer, recorder, most)
        await _live(trial, url, folder, f"L{life}", recorder, go_on, faults)
    return recorder.history(), faults


@asynccontextmanager
async def _started(trial: Plan, url: str, faults: Counter[str]) -> AsyncIterator[Database]:
    """A Database. Where others delete replicas, or lock files, it may take several attempts."""
    while True:
        database = Database(url, replicas=2, **trial.options)
        try:
            await database.start()
        except (ReplicaUnavailable, OperationalError):
            if not trial.faults and not trial.processes:
                raise
            faults["start refused"] += 1
        else:
            break
    try:
        yield database
    finally:
        await database.close()


def _fewer(recorder: Recorder, than: int) -> bool:
    return len(recorder) < than


async def _live(
    trial: Plan,
    url: str,
    folder: Path,
    name: str,
    recorder: Recorder,
    go_on: Callable[[], bool],
    faults: Counter[str],
    death: Death = "",
) -> None:
    """One life of a Database."""
    seed = f"{trial.seed}/{name}"
    async with _started(trial, url, faults) as database:
        if death:
            _die(database, death, random.Random(f"{seed}/death"))
        nemesis = Nemesis(database, trial.faults, seed)
        clients = [
            Client(
                f"{name}c{n}", database, recorder, Board(folder / "board"), trial.habits, trial.seed
            )
            for n in range(trial.clients)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.run(go_on))
            for client in clients:
                group.create_task(client.run(go_on))
        faults += nemesis.done
        if not _REPLACES.isdisjoint(trial.faults):
            # SQLAlchemy's pool forgets a connection whose checkout is cancelled while one whose
            # file was replaced is dropped (`_ConnectionFairy._checkout`, which closes it within
            # an except clause); it gets it back when the connection is collected as garbage.
            gc.collect()
        leaked = {name: held for name, held in _held(database) if held}
        if leaked:
            raise AssertionError(f"connections were not given back: {leaked}")


def _held(database: Database) -> Iterator[tuple[str, int]]:
    """The connections of each pool that somebody holds."""
    cluster = database.cluster
    yield "writer", cluster.writer.pool.checkedout()  # type: ignore[attr-defined]
    for server in (cluster.primary, *cluster.replicas):
        yield server.name, server.engine.pool.checkedout()  # type: ignore[attr-defined]


# Processes ---------------------------------------------------------------------------------


async def _run_processes(trial: Plan, url: str, folder: Path) -> tuple[History, Counter[str]]:
    chance = random.Random(f"{trial.seed}/kills")
    faults: Counter[str] = Counter()
    share = trial.operations // trial.processes
    async with asyncio.TaskGroup() as group:
        for number in range(trial.processes):
            victim = trial.kills and number > 0
            group.create_task(
                _keep_alive(trial, url, folder, number, share, victim, chance, faults)
            )
    return await asyncio.to_thread(lambda: collect(folder.glob("*.history"))), faults


async def _keep_alive(
    trial: Plan,
    url: str,
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
        deaths: list[Death] = ["", "before COMMIT", "in COMMIT", "after COMMIT"]
        death = chance.choice(deaths) if victim else ""
        order = asdict(trial) | {"faults": list(trial.faults), "operations": operations - done}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orm.testing.consistency.trial", url, str(folder), name, death,
            json.dumps(order),
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


def _die(database: Database, death: Death, chance: random.Random) -> None:
    """Have this process killed at one of its commits."""
    left = chance.randint(1, 60)

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


async def _process(url: str, folder: Path, name: str, death: Death, order: dict[str, Any]) -> None:
    order["habits"] = Habits(**order["habits"])
    trial = Plan(**order)
    recorder = Recorder(folder / f"{name}.history")
    try:
        await _live(
            trial, url, folder, name, recorder,
            partial(_fewer, recorder, trial.operations), Counter(), death,
        )  # fmt: skip
    finally:
        recorder.close()


if __name__ == "__main__":
    _, url_, folder_, name_, death_, order_ = sys.argv
    asyncio.run(_process(url_, Path(folder_), name_, death_, json.loads(order_)))  # type: ignore[arg-type]
