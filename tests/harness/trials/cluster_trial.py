"""One trial on a real cluster: clients in several processes, and a nemesis."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeAlias

from sqlalchemy import make_url

from orm.database import Database
from orm.testing import mysql, postgresql
from orm.testing.consistency.audit import audit
from orm.testing.consistency.checker import check
from orm.testing.consistency.history import History
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.tables import create
from orm.testing.postgresql import Proxy
from tests.harness.client import TrialHabits
from tests.harness.trials import cluster_faults, mysql_faults
from tests.harness.trials.cluster_faults import Fault, Scene
from tests.harness.trials.life import Plan, Servers, fewer, live
from tests.harness.trials.processes import GO_ON, run_processes
from tests.harness.trials.trial import Result

__all__ = ["faults_of", "plan", "run"]

Cluster: TypeAlias = postgresql.Cluster | mysql.Cluster
Server: TypeAlias = postgresql.Server | mysql.Server

_PROCESSES: Final = 2
"""One for each driver."""
_SHORTEST, _LONGEST = 0.02, 0.4  # seconds from one fault to the next, and that one lasts


def faults_of(cluster: Cluster) -> Mapping[str, Fault]:
    """What can go wrong there, by name."""
    return mysql_faults.FAULTS if isinstance(cluster, mysql.Cluster) else cluster_faults.FAULTS


def plan(
    seed: int,
    operations: int,
    *,
    faults: Iterable[str] = cluster_faults.FAULTS,
    only: str | None = None,
) -> Plan:
    """A plan from a seed: one fault, several, all or none.

    Args:
        seed: of all chances.
        operations: about how many.
        faults: the names of those to choose from.
        only: one of them, or ``"kill"``: this fault and no other.
    """
    chance = random.Random(f"cluster/{seed}")
    known = list(faults)
    some = chance.sample(known, k=chance.choice([0, 1, 3, len(known)]))
    kills = chance.random() < 0.1
    if only is not None:
        some, kills = ([], True) if only == "kill" else ([only], False)
    options: dict[str, Any] = {"max_wait": chance.choice([0.0, 0.02, 0.05])}
    if chance.random() < 0.3:  # sessions have to wait for each other's connections
        options["engine_options"] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    if chance.random() < 0.3:
        options["bookmark_keys"] = ["a secret of this trial"]
    return Plan(
        seed=str(seed),
        operations=operations,
        clients=chance.choice([2, 4, 8]),
        processes=_PROCESSES,
        faults=tuple(some),
        kills=kills,
        habits=TrialHabits(
            keys=chance.choice([2, 8]),
            writes=chance.choice([0.15, 0.35, 0.6]),
            cancels=chance.choice([0.0, 0.05, 0.3]),
            forges=chance.random() < 0.5,
            rests=0.02,
        ),
        options=options,
    )


async def run(trial: Plan, cluster: Cluster, folder: Path) -> Result:
    """Run it in an empty folder, on a healthy cluster, which is healthy again afterwards.

    Raises:
        RuntimeError: a server did not do what it was told, or a process failed.
    """
    database = await asyncio.to_thread(cluster.create_database)
    try:
        return await _run(trial, cluster, database, folder)
    finally:
        await asyncio.to_thread(cluster.heal)
        await asyncio.to_thread(cluster.drop_database, database)


async def _run(trial: Plan, cluster: Cluster, name: str, folder: Path) -> Result:
    url = cluster.primary.url(database=name)
    async with Database(url) as database, database.connect() as connection:
        await connection.run_sync(create, trial.habits.keys)
        await connection.commit()
    await asyncio.to_thread(cluster.caught_up)
    servers = (cluster.primary, *cluster.standbys)
    faults: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        proxies = {
            server: await stack.enter_async_context(Proxy(server.port)) for server in servers
        }
        began = monotonic()
        if trial.faults:
            (folder / GO_ON).touch()
        ways = _ways(proxies, name)
        run_clients = run_processes if trial.processes else _run_here
        clients = asyncio.ensure_future(run_clients(trial, ways, folder))
        try:
            await _trouble(trial, cluster, proxies, name, folder, clients, faults)
        finally:
            (folder / GO_ON).unlink(missing_ok=True)
            history, others = await clients
        seconds = monotonic() - began
    recorder = Recorder()
    async with Database(cluster.primary.url(database=name)) as database:
        await audit(database, recorder)
    history += recorder.history()
    losses = any(faults_of(cluster)[fault].loses for fault in trial.faults)
    violations = await asyncio.to_thread(lambda: check(history, losses=losses))
    return Result(history=history, violations=violations, faults=faults + others, seconds=seconds)


async def _run_here(
    trial: Plan, ways: Sequence[Servers], folder: Path
) -> tuple[History, Counter[str]]:
    """As `run_processes`, in this one, where what a test has changed about the library counts."""
    recorder = Recorder()
    faults: Counter[str] = Counter()
    wanted = folder / GO_ON

    def go_on() -> bool:
        return fewer(recorder, trial.operations) or wanted.exists()

    async with asyncio.TaskGroup() as group:
        for number, servers in enumerate(ways):
            group.create_task(live(trial, servers, folder, f"W{number}", recorder, go_on, faults))
    return recorder.history(), faults


def _ways(proxies: Mapping[Server, Proxy], database: str) -> Sequence[Servers]:
    """How clients reach the servers: by each driver, through the proxies."""
    ways = []
    for number in range(_PROCESSES):
        primary, *replicas = (
            make_url(_url(server, database, number)).set(port=proxy.port).render_as_string()
            for server, proxy in proxies.items()
        )
        ways.append(Servers(primary, replicas))
    return ways


def _url(server: Server, database: str, number: int) -> str:
    if isinstance(server, mysql.Server):
        return server.url(("asyncmy", "aiomysql")[number], database=database)
    return server.url(("asyncpg", "psycopg")[number], database=database)


async def _trouble(
    trial: Plan,
    cluster: Cluster,
    proxies: Mapping[Server, Proxy],
    database: str,
    folder: Path,
    clients: "asyncio.Future[Any]",
    faults: Counter[str],
) -> None:
    """One fault after the other, until each was done and undone, and the clients are done."""
    chance = random.Random(f"{trial.seed}/nemesis")
    loop = asyncio.get_running_loop()
    left, known = chance.sample(trial.faults, k=len(trial.faults)), faults_of(cluster)
    while trial.faults and not clients.done():
        await asyncio.sleep(chance.uniform(_SHORTEST, _LONGEST))
        name = left.pop() if left else chance.choice(trial.faults)
        scene = Scene(
            cluster=cluster,
            proxies=proxies,
            loop=loop,
            database=database,
            chance=chance,
            standby=chance.choice(cluster.standbys),
            proxy=chance.choice(list(proxies.values())),
        )
        await asyncio.to_thread(known[name].do, scene)
        await asyncio.sleep(known[name].lasts + chance.uniform(_SHORTEST, _LONGEST))
        if known[name].struck(scene):
            faults[name] += 1
        else:
            left.insert(0, name)  # another time
        await asyncio.to_thread(known[name].undo, scene)
        await asyncio.sleep(known[name].lasts)  # else nothing could be done in between
        if not left:
            (folder / GO_ON).unlink(missing_ok=True)
