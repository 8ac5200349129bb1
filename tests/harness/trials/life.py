"""One life of a `Database` with clients and a nemesis on it."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from orm.database import Database
from orm.exceptions import OrmError
from orm.testing.consistency.board import Board
from orm.testing.consistency.recorder import Recorder
from tests.harness.client import TrialClient, TrialHabits
from tests.harness.trials.cluster_faults import COME_AND_GO
from tests.harness.trials.nemesis import Nemesis

__all__ = ["Plan", "Servers", "fewer", "live"]

_REPLACES: Final = frozenset({"delete", "full", "rebuild", "truncate", "unlink"})
"""The faults after which replicas get new files."""


_RETRY: Final = 0.05  # seconds
_PATIENCE: Final = 120.0  # seconds; no fault lasts as long


@dataclass(frozen=True, slots=True)
class Servers:
    """Where a `Database` finds its servers.

    Attributes:
        primary: as `Database` takes it.
        replicas: as `Database` takes them.
    """

    primary: str
    replicas: int | list[str] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trial does; everything follows from its seed.

    Attributes:
        seed: of all chances.
        operations: about how many.
        clients: tasks of each process.
        processes: 0 if all runs in this one.
        lives: how often the Database is started, one after the other.
        faults: of `nemesis.FAULTS`, or of `cluster_faults.FAULTS`.
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
    habits: TrialHabits = field(default_factory=TrialHabits)
    options: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def _started(trial: Plan, servers: Servers, faults: Counter[str]) -> AsyncIterator[Database]:
    """A Database. Where others delete replicas, or kill servers, it may take several attempts.

    Raises:
        RuntimeError: none of them has succeeded.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + _PATIENCE
    while True:
        database = Database(servers.primary, replicas=servers.replicas, **trial.options)
        try:
            await database.start()
        except (OrmError, DBAPIError, OSError) as error:
            if not trial.faults and not trial.processes:
                raise
            if clock() > deadline:
                raise RuntimeError(
                    f"no Database could be started for {_PATIENCE:.0f} s, longer than any fault "
                    f"lasts: check its servers {servers} and options {trial.options}"
                ) from error
            faults["start refused"] += 1
            await asyncio.sleep(_RETRY)
        else:
            break
    try:
        yield database
    finally:
        await database.close()


def fewer(recorder: Recorder, than: int) -> bool:
    """Whether less than so many operations were recorded."""
    return len(recorder) < than


async def live(
    trial: Plan,
    servers: Servers,
    folder: Path,
    name: str,
    recorder: Recorder,
    go_on: Callable[[], bool],
    faults: Counter[str],
    prepare: Callable[[Database], None] = lambda _: None,
) -> None:
    """Start a Database, have clients and a nemesis work on it, and close it.

    Args:
        trial: what they do.
        servers: whose they are.
        folder: where bookmarks are handed on.
        name: unique among all lives of a trial.
        recorder: of this process.
        go_on: whether they are to.
        faults: counted here.
        prepare: called with the database once it is started.

    Raises:
        AssertionError: a connection was not given back.
    """
    seed = f"{trial.seed}/{name}"
    async with _started(trial, servers, faults) as database:
        prepare(database)
        nemesis = Nemesis(database, trial.faults, seed) if database.embedded else None
        clients = [
            TrialClient(
                f"{name}c{n}", database, recorder, Board(folder / "board"), trial.habits, trial.seed
            )
            for n in range(trial.clients)
        ]
        async with asyncio.TaskGroup() as group:
            if nemesis is not None:
                group.create_task(nemesis.run(go_on))
            if COME_AND_GO in trial.faults:
                group.create_task(_come_and_go(database, random.Random(seed), go_on))
            for client in clients:
                group.create_task(client.run(go_on))
        if nemesis is not None:
            faults += nemesis.done
        # SQLAlchemy's pool forgets a connection whose checkout is cancelled while one is dropped
        # whose file was replaced, or that died while it was idle (`_ConnectionFairy._checkout`,
        # which closes it within an except clause); it gets it back when the connection is collected
        # as garbage.
        if database.cluster.backend.network or not _REPLACES.isdisjoint(trial.faults):
            gc.collect()
        leaked = {name: held for name, held in _held(database) if held}
        if leaked:
            raise AssertionError(f"connections were not given back: {leaked}")


async def _come_and_go(
    database: Database, chance: random.Random, go_on: Callable[[], bool]
) -> None:
    """Replicas are removed, while they are read from, and added again."""
    while go_on():
        await asyncio.sleep(chance.uniform(0.02, 0.4))
        replica = chance.choice(database.cluster.replicas)
        await database.remove_replica(replica.name, drain=chance.choice([0.0, 0.05, 1.0]))
        await asyncio.sleep(chance.uniform(0.0, 0.2))
        await database.add_replica(replica.url)


def _held(database: Database) -> Iterator[tuple[str, int]]:
    """The number of connections of each pool that are in use."""
    cluster = database.cluster
    yield "writer", cluster.writer.pool.checkedout()  # type: ignore[attr-defined]
    for server in (cluster.primary, *cluster.replicas):
        yield server.name, server.engine.pool.checkedout()  # type: ignore[attr-defined]
