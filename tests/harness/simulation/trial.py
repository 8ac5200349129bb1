"""One simulated trial: clients and a nemesis in virtual time, then the audit and the verdict."""

import asyncio
import gc
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy.orm import session as orm_session
from sqlalchemy.util import OrderedSet

from orm.database import Database
from orm.servers.replica import Replica
from orm.testing.consistency.audit import audit
from orm.testing.consistency.board import Handed
from orm.testing.consistency.checker import Violation, check
from orm.testing.consistency.history import History, Operation
from orm.testing.consistency.recorder import Recorder
from tests.harness.client import TrialClient, TrialHabits
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.nemesis import FAULTS, Nemesis, Strike, at_random
from tests.harness.simulation.world import World

__all__ = ["Plan", "Result", "plan", "run", "smallest"]

_PATIENCE: Final = 20.0
"""Virtual seconds for each operation, after which a trial hangs."""

_RECENT: Final = 200
"""Bookmarks that are picked from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trial does; everything follows from it.

    Attributes:
        seed: of all chances.
        operations: about how many.
        clients: tasks.
        replicas: for each replica's address, how many machines are behind it.
        latency: the longest that a request or an answer travels, in seconds.
        samples: whether the position of a commit takes a request of its own.
        discovers: whether the `Database` looks for its replicas.
        faults: of `FAULTS`, to draw strikes from.
        strikes: what goes wrong, instead of what would be drawn.
        habits: of the clients.
        options: of the `Database`.
    """

    seed: str
    operations: int
    clients: int = 4
    replicas: tuple[int, ...] = (1, 1)
    latency: float = 0.02
    samples: bool = False
    discovers: bool = False
    faults: tuple[str, ...] = ()
    strikes: tuple[Strike, ...] | None = None
    habits: TrialHabits = field(default_factory=TrialHabits)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a trial.

    Attributes:
        history: all operations.
        violations: of the guarantees; the shortest first.
        strikes: what went wrong.
        seconds: virtual ones.
        jumps: when the clock has jumped, and by how many seconds.
    """

    history: History
    violations: list[Violation]
    strikes: tuple[Strike, ...]
    seconds: float
    jumps: Sequence[tuple[float, float]] = ()

    @property
    def faults(self) -> Counter[str]:
        """How often each was done."""
        return Counter(strike.fault for strike in self.strikes)

    @property
    def longest(self) -> float:
        """Seconds that the longest read took, less those in which this process did not run."""
        return max((self._took(one) for one in self.history if one.kind == "read"), default=0.0)

    def _took(self, read: Operation) -> float:
        jumped = sum(by for at, by in self.jumps if read.start <= at < read.end)
        return read.end - read.start - jumped


class _Memory:
    """Bookmarks that clients leave for each other, in memory; as `Board`."""

    def __init__(self) -> None:
        self._handed: deque[Handed] = deque(maxlen=_RECENT)

    def post(self, handed: Handed) -> None:
        self._handed.append(handed)

    def pick(self, chance: random.Random, most: int) -> list[Handed]:
        if not self._handed:
            return []
        return [chance.choice(self._handed) for _ in range(chance.randint(1, most))]


def plan(seed: int, operations: int, *, only: str | None = None) -> Plan:
    """A plan from a seed: one fault, several or none.

    Args:
        seed: of all chances.
        operations: about how many.
        only: of `FAULTS`: this fault and no other.
    """
    chance = random.Random(f"plan/{seed}")
    some = chance.sample(FAULTS, k=chance.choice([0, 1, 2, 4, len(FAULTS)]))
    options: dict[str, Any] = {"max_wait": chance.choice([0.0, 0.05, 0.05, 1.0])}
    if chance.random() < 0.3:
        options["engine_options"] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    faults = tuple(some if only is None else [only])
    if chance.random() < 0.3 or "promote" in faults:
        options["bookmark_keys"] = ["a secret of this trial"]
    if chance.random() < 0.2:
        options["fallback"] = False
    later = random.Random(f"plan/{seed}/later")  # what older seeds do not have
    if later.random() < 0.2:
        options["max_staleness"] = later.choice([2.0, 5.0])
    if chance.random() < 0.2:
        options["stray_bookmarks"] = "error"
    return Plan(
        seed=str(seed),
        operations=operations,
        clients=chance.choice([2, 4, 8]),
        replicas=chance.choice([(1,), (1, 1), (1, 1), (1, 1), (2,), (2, 1)]),
        latency=chance.choice([0.0001, 0.001, 0.01, 0.03]),
        samples=chance.random() < 0.5,
        discovers="flap" in faults,
        faults=faults,
        habits=TrialHabits(
            keys=chance.choice([2, 8]),
            writes=chance.choice([0.15, 0.35, 0.6]),
            cancels=chance.choice([0.0, 0.05, 0.3]),
            forges=chance.random() < 0.5,
        ),
        options=options,
    )


def run(trial: Plan) -> Result:
    """Run it, in virtual time and in no thread but this one.

    Raises:
        Exception: whatever is neither a database's error nor one of ours has been raised.
    """
    loop = VirtualLoop()  # type: ignore[abstract] # no sockets, processes or signals here
    collecting = gc.isenabled()
    gc.disable()  # what is freed by chance would be another's than this seed's
    # A session ends its connections in the order of a set, which is that of their addresses.
    ordered = patch.object(orm_session, "set", OrderedSet, create=True)
    try:
        with ordered:
            history, strikes = loop.run(_run(trial))
        if loop.unhandled:
            raise AssertionError(f"not handled: {loop.unhandled}")
    finally:
        loop.close()
        if collecting:
            gc.enable()
    violations = check(history, losses=any(strike.fault == "promote" for strike in strikes))
    return Result(
        history=history,
        violations=violations,
        strikes=strikes,
        seconds=loop.time(),
        jumps=loop.jumps,
    )


async def _run(trial: Plan) -> tuple[History, tuple[Strike, ...]]:
    name = f"trial-{trial.seed}"
    world = World(
        trial.seed, trial.habits.keys, trial.replicas, trial.latency, samples=trial.samples
    )
    worlds[name] = world
    recorder, shelf = Recorder(), _Memory()
    strikes = trial.strikes
    nemesis = Nemesis(world, at_random(trial.faults, trial.seed) if strikes is None else strikes)

    def go_on() -> bool:
        return len(recorder) < trial.operations

    primary, *urls = (f"simulated:///{name}/{address}" for address in world.addresses)

    async def discover() -> list[Replica]:
        await asyncio.sleep(world.latency)
        return [Replica(f"simulated:///{name}/{one}", name=one) for one in world.listed()]

    replicas = discover if trial.discovers else urls
    async with Database(primary, replicas=replicas, **trial.options) as database:
        clients = [
            TrialClient(f"c{n}", database, recorder, shelf, trial.habits, trial.seed)
            for n in range(trial.clients)
        ]
        async with asyncio.timeout(_PATIENCE * trial.operations), asyncio.TaskGroup() as group:
            group.create_task(nemesis.run(go_on))
            for client in clients:
                group.create_task(client.run(go_on))
        leaked = {name: held for name, held in _held(database) if held}
        if leaked:
            raise AssertionError(f"connections were not given back: {leaked}")
    world.addresses["audit"] = [world.primary]
    world.primary.crash()  # what was still hidden is there afterwards
    world.primary.restart()
    async with Database(f"simulated:///{name}/audit") as database:
        await audit(database, recorder)
    return recorder.history(), tuple(nemesis.done)


def _held(database: Database) -> Iterator[tuple[str, int]]:
    """The number of connections of each pool that are in use."""
    cluster = database.cluster
    yield "writer", cluster.writer.pool.checkedout()  # type: ignore[attr-defined]
    for server in (cluster.primary, *cluster.replicas):
        yield server.name, server.engine.pool.checkedout()  # type: ignore[attr-defined]


def smallest(trial: Plan) -> Plan:
    """A plan that does less, and still shows what a plan shows."""
    trial = replace(trial, strikes=run(trial).strikes)
    while True:
        for less in _less(trial):
            try:
                shown = bool(run(less).violations)
            except Exception:  # noqa: BLE001 - whatever it is, it is another find
                shown = False
            if shown:
                trial = less
                break
        else:
            return trial


def _less(trial: Plan) -> Iterator[Plan]:
    strikes = trial.strikes or ()
    size = len(strikes)
    while size:
        for start in range(0, len(strikes), size):
            yield replace(trial, strikes=strikes[:start] + strikes[start + size :])
        size //= 2
    for part in (2, 4, 8):
        if (fewer := trial.operations - trial.operations // part) < trial.operations:
            yield replace(trial, operations=fewer)
    if trial.clients > 1:
        yield replace(trial, clients=trial.clients - 1)
    if trial.habits.cancels:
        yield replace(trial, habits=replace(trial.habits, cancels=0.0))
