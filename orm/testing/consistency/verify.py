"""`orm verify`: clients in several processes and the checker on given servers, without faults."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import URL, make_url

from orm.backends import backend_for
from orm.database import Database
from orm.servers.naming import name_of
from orm.servers.replica import Replica
from orm.testing.consistency.audit import audit
from orm.testing.consistency.board import Board
from orm.testing.consistency.checker import Anomaly, Violation, check
from orm.testing.consistency.client import Client, Roamer
from orm.testing.consistency.history import History, dump
from orm.testing.consistency.moves import Move, moves
from orm.testing.consistency.recorder import Recorder, collect
from orm.testing.consistency.tables import create, drop
from orm.testing.consistency.transactions import Habits
from orm.testing.consistency.writers import Order, Writers, writers

__all__ = ["Report", "verify"]

_CLIENTS: Final = 2
_ROAMERS: Final = 4
_CLIENTS_OF_WRITER: Final = 2
_HABITS: Final = Habits(keys=4, latest=20, rests=0.1)
_ROAMERS_WAIT: Final = 1.0
"""Seconds that a roamer waits for a replica, rather than that it looks at the primary again."""
_LONGER: Final = 120.0
"""Seconds by which a writer may outlive the clients: no server is asked for as long."""

_NEVER_SHOWN = (
    "anything about failover, crashes or a network that fails: nothing was disturbed",
    "anything about sessions that no bookmark links: nothing is promised to them",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a verification saw.

    Attributes:
        operations: that were recorded.
        seconds: how long the clients ran.
        seed: of what they decided.
        processes: how many worked: this one, and the writers.
        commits: how many transactions wrote.
        foreign: how many of them in other processes than this one.
        moves: how often a client of this process went on at another server.
        sessions: how many there were.
        linked: how many of them were started from a bookmark.
        served: how many operations each server answered.
        errors: how many operations failed, by the type of the error.
        checked: the guarantees that the history was checked against.
        gaps: what it says nothing about.
        violations: the shortest first.
    """

    operations: int
    seconds: float
    seed: int
    processes: int
    commits: int
    foreign: int
    moves: dict[Move, int]
    sessions: int
    linked: int
    served: dict[str, int]
    errors: dict[str, int]
    checked: tuple[str, ...]
    gaps: tuple[str, ...]
    violations: list[Violation]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "violations"} | {
            "violations": [
                {
                    "anomaly": violation.anomaly,
                    "reason": violation.reason,
                    "history": [dump(operation) for operation in violation.history],
                }
                for violation in self.violations
            ]
        }


async def verify(
    primary: str | URL,
    replicas: int | Sequence[str | URL],
    *,
    seconds: float,
    seed: int = 1,
    processes: int = 2,
) -> Report:
    """Let clients read and write on these servers for a while, and check what they saw.

    Args:
        primary: the URL of the primary, as `Database` takes it.
        replicas: their URLs, or the number of embedded ones, as `Database` takes them.
        seconds: how long the clients work.
        seed: of everything that the clients choose at random.
        processes: how many others write meanwhile. They end with this one.

    Raises:
        OrmError: a server could not be used, or a process could not start.
        sqlalchemy.exc.SQLAlchemyError: the primary could not be used.
    """
    recorder = Recorder()
    await _require(make_url(primary))
    async with Database(primary) as database, database.connect() as connection:
        await connection.run_sync(create, _HABITS.keys)
        await connection.commit()
    try:
        with tempfile.TemporaryDirectory(prefix="orm-verify-") as name:
            folder = Path(name)
            orders = [
                _order(primary, replicas, folder, f"w{number}", seed, seconds + _LONGER)
                for number in range(1, processes + 1)
            ]
            # Its floor is past the new tables: no replica that lacks them is read.
            async with Database(primary, replicas=replicas) as database:
                cluster = database.cluster
                names = [server.name for server in (cluster.primary, *cluster.replicas)]
                async with _parts(primary, replicas) as parts, writers(orders) as others:
                    with_ = recorder, Board(folder / "board"), _HABITS, str(seed)
                    clients = [
                        *(Client(f"c{n}", database, *with_) for n in range(_CLIENTS)),
                        *(Roamer(f"r{n}", parts, *with_) for n in range(_ROAMERS)),
                    ]
                    began = monotonic()
                    async with asyncio.TaskGroup() as group:
                        for client in clients:
                            group.create_task(client.run(lambda: monotonic() - began < seconds))
                    seconds = monotonic() - began
                await audit(database, recorder)
            foreign = await asyncio.to_thread(lambda: collect(folder.glob("*.history")))
    finally:
        async with Database(primary) as database, database.connect() as connection:
            await connection.run_sync(drop)
            await connection.commit()
    own = recorder.history()
    violations = await asyncio.to_thread(check, own + foreign)
    return _report(own, foreign, violations, names, others, seconds, seed)


@asynccontextmanager
async def _parts(
    primary: str | URL, replicas: int | Sequence[str | URL]
) -> AsyncIterator[Sequence[Database]]:
    """A `Database` of the primary alone, and one with each of the replicas alone."""
    url, urls = make_url(primary), replicas
    if isinstance(urls, int):
        embedded = backend_for(url).embedded
        urls = [embedded.url(url, n) for n in range(1, urls + 1)] if embedded else []
    named: list[Replica] = []
    for one in urls:  # each is called what a `Database` of all of them calls it
        name = name_of(make_url(one), "replica", [str(other.name) for other in named])
        named.append(Replica(one, name=name))
    async with AsyncExitStack() as stack:
        databases = [
            Database(url),
            *(Database(url, replicas=[one], max_wait=_ROAMERS_WAIT) for one in named),
        ]
        yield [await stack.enter_async_context(database) for database in databases]


def _order(
    primary: str | URL,
    replicas: int | Sequence[str | URL],
    folder: Path,
    name: str,
    seed: int,
    seconds: float,
) -> Order:
    return Order(
        primary=_text(primary),
        replicas=replicas if isinstance(replicas, int) else [*map(_text, replicas)],
        folder=str(folder),
        name=name,
        clients=_CLIENTS_OF_WRITER,
        keys=_HABITS.keys,
        latest=_HABITS.latest,
        seed=str(seed),
        seconds=seconds,
    )


def _text(url: str | URL) -> str:
    return make_url(url).render_as_string(hide_password=False)


async def _require(primary: URL) -> None:
    """Raise if the primary is not there; a reader makes none."""
    engine = backend_for(primary).reader_engine(primary)
    try:
        async with engine.connect():
            pass
    finally:
        await engine.dispose()


def _report(
    own: History,
    foreign: History,
    violations: list[Violation],
    names: list[str],
    others: Writers,
    seconds: float,
    seed: int,
) -> Report:
    history = own + foreign
    served = Counter(o.server for o in history if o.server)
    first = {o.session: o for o in reversed(history)}.values()
    primary, *replicas = names
    moved = moves(own, history, primary)
    gaps = [f"anything about {name}: it answered nothing" for name in replicas if not served[name]]
    if not replicas:
        gaps.append("anything about replicas: there are none")
    else:
        gaps += [f"anything about going {move}: no client did" for move in Move if not moved[move]]
    if not others.started:
        gaps.append("anything about what other processes write meanwhile: there were none")
    gaps += [f"what a process would have written that ended early: {one}" for one in others.lost]
    return Report(
        operations=len(history),
        seconds=seconds,
        seed=seed,
        processes=1 + others.started,
        commits=_commits(history),
        foreign=_commits(foreign),
        moves=dict(moved),
        sessions=len(first),
        linked=sum(bool(o.given) for o in first),
        served=dict(sorted(served.items())),
        errors=dict(Counter(o.error for o in history if o.error)),
        checked=tuple(Anomaly),
        gaps=(*gaps, *_NEVER_SHOWN),
        violations=violations,
    )


def _commits(history: History) -> int:
    return sum(o.kind == "write" and o.outcome == "ok" for o in history)
