"""`orm verify`: clients and the checker on given servers, without faults."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import URL, make_url

from orm.backends import backend_for
from orm.database import Database
from orm.testing.consistency.audit import audit
from orm.testing.consistency.board import Board
from orm.testing.consistency.checker import Anomaly, Violation, check
from orm.testing.consistency.client import Client
from orm.testing.consistency.history import History, dump
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.tables import create, drop
from orm.testing.consistency.transactions import Habits

__all__ = ["Report", "verify"]

_CLIENTS = 4
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
) -> Report:
    """Let clients read and write on these servers for a while, and check what they saw.

    Args:
        primary: the URL of the primary, as `Database` takes it.
        replicas: their URLs, or the number of embedded ones, as `Database` takes them.
        seconds: how long the clients work.
        seed: of everything that the clients choose at random.

    Raises:
        OrmError: a server could not be used.
        sqlalchemy.exc.SQLAlchemyError: the primary could not be used.
    """
    habits, recorder = Habits(), Recorder()
    await _require(make_url(primary))
    async with Database(primary) as database, database.connect() as connection:
        await connection.run_sync(create, habits.keys)
        await connection.commit()
    try:
        with tempfile.TemporaryDirectory(prefix="orm-verify-") as folder:
            # Its floor is past the new tables: no replica that lacks them is read.
            async with Database(primary, replicas=replicas) as database:
                known = [server.name for server in database.cluster.replicas]
                began = monotonic()
                board = Board(Path(folder) / "board")
                async with asyncio.TaskGroup() as group:
                    for number in range(_CLIENTS):
                        client = Client(f"c{number}", database, recorder, board, habits, str(seed))
                        group.create_task(client.run(lambda: monotonic() - began < seconds))
                seconds = monotonic() - began
                await audit(database, recorder)
    finally:
        async with Database(primary) as database, database.connect() as connection:
            await connection.run_sync(drop)
            await connection.commit()
    history = recorder.history()
    return _report(history, await asyncio.to_thread(check, history), known, seconds, seed)


async def _require(primary: URL) -> None:
    """Raise if the primary is not there; a reader makes none."""
    engine = backend_for(primary).reader_engine(primary)
    try:
        async with engine.connect():
            pass
    finally:
        await engine.dispose()


def _report(
    history: History, violations: list[Violation], known: list[str], seconds: float, seed: int
) -> Report:
    served = Counter(o.server for o in history if o.server)
    first = {o.session: o for o in reversed(history)}.values()
    idle = [f"anything about {name}: it answered nothing" for name in known if not served[name]]
    alone = ["anything about replicas: there are none"] if not known else []
    return Report(
        operations=len(history),
        seconds=seconds,
        seed=seed,
        sessions=len(first),
        linked=sum(bool(o.given) for o in first),
        served=dict(sorted(served.items())),
        errors=dict(Counter(o.error for o in history if o.error)),
        checked=tuple(Anomaly),
        gaps=(*alone, *idle, *_NEVER_SHOWN),
        violations=violations,
    )
