"""The checker is proven: each guard of the product, taken out, is missed by it.

Every variant is caught by the trial of its seed, as a rule; since the machine's timing is part of a
trial, the seeds after it are tried until one catches it. The product itself passes the same trials.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.sqlite import SQLiteBackend, engines
from orm.bookmark import Bookmark
from orm.routing.locating import Locator
from orm.routing.placement import ReadPlacement
from orm.routing.router import Router
from orm.routing.transaction import Transaction
from orm.servers.server import Server
from tests.harness.attempts import attempts
from tests.harness.client import TrialHabits
from tests.harness.trials.trial import Plan, run

# They fail in ways that the product does not.
pytestmark = pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning")

Patch = Callable[[pytest.MonkeyPatch], Any]


def watching() -> bool:
    """Whether this task asks servers, and is no session's."""
    task = asyncio.current_task()
    return task is not None and task.get_name().startswith("orm watches")


def believed(
    self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
) -> bool:
    """`ReadPlacement._may_read` without its questions."""
    connection.begin()
    cluster = self._cluster
    self._memory.reads(server, cluster.backend.incarnation(connection), cluster.epoch.number)
    return True


def no_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Server, "covers", lambda *_: True)
    patch.setattr(ReadPlacement, "_may_read", believed)


def position_before_commit(patch: pytest.MonkeyPatch) -> None:
    right = SQLiteBackend.committed

    def committed(self: SQLiteBackend, connection: Connection, *, wrote: bool) -> Bookmark | None:
        at = right(self, connection, wrote=wrote)
        return at and Bookmark.at(at.history, at.position[0][1] - 1)

    patch.setattr(SQLiteBackend, "committed", committed)


def savepoint_for_commit(patch: pytest.MonkeyPatch) -> None:
    right = SQLiteBackend.writer_engine, SQLiteBackend.committed
    at_release = "test.released"

    def writer_engine(self: SQLiteBackend, url: URL, **options: Any) -> AsyncEngine:
        engine = right[0](self, url, **options)
        event.listen(
            engine.sync_engine,
            "release_savepoint",
            lambda connection, *_: connection.info.update({at_release: self.seen(connection)}),
        )
        return engine

    def committed(self: SQLiteBackend, connection: Connection, *, wrote: bool) -> Bookmark | None:
        released: Bookmark | None = connection.info.pop(at_release, None)
        return released or right[1](self, connection, wrote=wrote)

    patch.setattr(SQLiteBackend, "writer_engine", writer_engine)
    patch.setattr(SQLiteBackend, "committed", committed)


def unknown_is_caught_up(patch: pytest.MonkeyPatch) -> None:
    right, covers, asked = ReadPlacement._may_read, Server.covers, Server.probe_by

    async def probe_by(self: Server, ask: Callable[[Connection], Any]) -> Any:
        answer = await asked(self, ask)
        if self.role == "replica" and watching():
            self.fail(TimeoutError("the answer was lost"))
        return answer

    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        unknown = server.knowledge.at is None
        judge = believed if unknown else right
        return judge(self, transaction, server, connection)

    patch.setattr(Server, "probe_by", probe_by)
    patch.setattr(Server, "covers", lambda s, need: s.knowledge.at is None or covers(s, need))
    patch.setattr(ReadPlacement, "_may_read", may_read)


def routed_by_the_statement(patch: pytest.MonkeyPatch) -> None:
    right = Router.reader

    def reader(self: Router) -> Connection:
        transaction = self._transaction
        if len(transaction.held) < 2:
            self.locate()
            transaction.connection = self._memory.unlocated = None
            right(self)
            if len({connection.engine for connection in transaction.held}) < len(transaction.held):
                transaction.held[-1].close()  # the same server as before
                transaction.held = transaction.held[:-1]
        transaction.connection = transaction.held[next(self.rules.turns) % len(transaction.held)]
        return transaction.connection

    patch.setattr(Router, "reader", reader)


def incarnations_ignored(patch: pytest.MonkeyPatch) -> None:
    """A file that was replaced is read as if it was the new one.

    The moment in which a session has a connection to the old file is too short for a trial. So no
    session looks which file its connection leads to; a session of the library itself asks then.
    """
    look = engines._check_file

    def check_file(*args: Any) -> None:
        if watching():
            look(*args)

    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        return server.covers(self._memory.bookmark) and believed(
            self, transaction, server, connection
        )

    patch.setattr(engines, "_check_file", check_file)
    patch.setattr(ReadPlacement, "_may_read", may_read)


def bookmark_without_reads(patch: pytest.MonkeyPatch) -> None:
    def locate(self: Locator, _: Transaction) -> Bookmark:
        self._memory.unlocated = None
        return self._memory.bookmark

    patch.setattr(Locator, "locate", locate)


VARIANTS: dict[str, tuple[Patch, tuple[str, ...], int, int]] = {
    "no check at all": (no_check, ("pause", "lag"), 1, 300),
    "the position taken before COMMIT": (position_before_commit, ("pause", "lag"), 1, 600),
    "a savepoint taken for a commit": (savepoint_for_commit, ("pause", "lag"), 1, 1000),
    "unknown taken for caught up": (unknown_is_caught_up, ("pause", "lag"), 1, 600),
    "routed by the statement": (routed_by_the_statement, ("lag",), 1, 1000),
    "knowledge kept over an incarnation": (incarnations_ignored, ("rebuild", "lag"), 3, 600),
    "a bookmark that reads do not move": (bookmark_without_reads, ("pause", "lag"), 1, 1000),
}


def trial(seed: int, operations: int, faults: tuple[str, ...]) -> Plan:
    return Plan(
        seed=str(seed),
        operations=operations,
        lives=1,
        faults=faults,
        habits=TrialHabits(keys=4, writes=0.25),
        options={"max_wait": 0.0},
    )


@pytest.mark.parametrize("variant", VARIANTS)
async def test_an_unsafe_variant_is_caught(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, faults, seed, operations = VARIANTS[variant]
    patch(monkeypatch)
    for attempt in attempts(f"a violation, by {variant}"):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if (await run(trial(seed + attempt, operations, faults), folder)).violations:
            break
