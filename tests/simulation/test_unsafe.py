"""The simulator has teeth: each guard of the product, taken out, is caught by the stated seed.

The product itself passes the same trials.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.bookmark import Bookmark
from orm.routing import Route
from orm.routing.locating import Locator
from orm.routing.placement import ReadPlacement
from orm.routing.router import Router
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster
from orm.servers.knowledge import Knowledge
from orm.servers.server import Server
from tests.harness.client import TrialHabits
from tests.harness.simulation import Plan, run
from tests.harness.simulation.backend import SimulatedBackend, Timelines, bookmark_of
from tests.harness.simulation.link import Link, link_of

Patch = Callable[[pytest.MonkeyPatch], Any]


def believed(
    self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
) -> bool:
    """`ReadPlacement._may_read` without its questions."""
    try:
        connection.begin()
    except DBAPIError:
        return False
    cluster = self._cluster
    self._memory.reads(server, cluster.backend.incarnation(connection), cluster.epoch.number)
    return True


def no_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Server, "covers", lambda *_: True)
    patch.setattr(ReadPlacement, "_may_read", believed)


def check_inside_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        try:
            if not believed(self, transaction, server, connection):
                return False
            known = server.ask(connection)
        except DBAPIError:
            return False
        return known.at is not None and known.at.covers(self._memory.bookmark)

    patch.setattr(Server, "covers", lambda *_: True)
    patch.setattr(ReadPlacement, "_may_read", may_read)


def lower_bound_for_upper(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedBackend, "seen", SimulatedBackend.position)


def position_before_commit(patch: pytest.MonkeyPatch) -> None:
    right = SimulatedBackend.committed

    def committed(self: SimulatedBackend, connection: Connection, **how: Any) -> Bookmark | None:
        at = right(self, connection, **how)
        if at is None:
            return None
        [(timeline, sequence)] = at.position
        return Bookmark(at.history, ((timeline, sequence - 1),))

    patch.setattr(SimulatedBackend, "committed", committed)


def savepoint_for_commit(patch: pytest.MonkeyPatch) -> None:
    right, released = SimulatedBackend.committed, "test.released"
    execute = Link.execute

    async def watched(self: Link, sql: str, parameters: Any) -> Any:
        done = await execute(self, sql, parameters)
        if sql.startswith("RELEASE"):
            setattr(self, released, self._machine.at_most()[0])
        return done

    def committed(self: SimulatedBackend, connection: Connection, **how: Any) -> Bookmark | None:
        at = right(self, connection, **how)
        early = vars(link_of(connection)).pop(released, None)
        return at if at is None or early is None else bookmark_of(early)

    patch.setattr(Link, "execute", watched)
    patch.setattr(SimulatedBackend, "committed", committed)


def unknown_is_caught_up(patch: pytest.MonkeyPatch) -> None:
    right, covers = ReadPlacement._may_read, Server.covers

    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        unknown = server.knowledge.at is None
        judge = believed if unknown else right
        return judge(self, transaction, server, connection)

    patch.setattr(Server, "covers", lambda s, need: s.knowledge.at is None or covers(s, need))
    patch.setattr(ReadPlacement, "_may_read", may_read)


def failure_is_forgiven(patch: pytest.MonkeyPatch) -> None:
    """A server that failed keeps its position, though its successor answers under the name."""

    def learn(self: Server, incarnation: str, at: Bookmark | None) -> Knowledge:
        old = self.knowledge
        at = old.at if at and old.at and old.at.covers(at) else at
        self.knowledge = Knowledge(incarnation, at, None)
        self.on_change()
        return self.knowledge

    patch.setattr(Server, "learn", learn)


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
    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        return server.covers(self._memory.bookmark) and believed(
            self, transaction, server, connection
        )

    patch.setattr(ReadPlacement, "_may_read", may_read)


def bookmark_without_reads(patch: pytest.MonkeyPatch) -> None:
    def locate(self: Locator, _: Transaction) -> Bookmark:
        self._memory.unlocated = None
        return self._memory.bookmark

    patch.setattr(Locator, "locate", locate)


def moved_without_sampling(patch: pytest.MonkeyPatch) -> None:
    right = ReadPlacement.open

    def open_(self: ReadPlacement, transaction: Transaction) -> tuple[Connection, Route]:
        self._memory.unlocated = None
        return right(self, transaction)

    patch.setattr(ReadPlacement, "open", open_)


def merge_takes_the_last(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bookmark, "merge", lambda _, other: other)


def blind_to_timelines(patch: pytest.MonkeyPatch) -> None:
    def blind(at: dict[int, int], shown: int = 0) -> Bookmark:
        return Bookmark("simulated", (("", max(at.values())),), shown)

    patch.setattr("tests.harness.simulation.backend.bookmark_of", blind)


def losses_untold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timelines, "lost", lambda *_: None)


def once_a_primary(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cluster, "leads_to_primary", lambda *_: True)


def mixed_knowledge(patch: pytest.MonkeyPatch) -> None:
    """Where one server was, as knowledge of another one under the same name."""
    patch.setattr(Server, "is_known", lambda self, _: self.knowledge.error is None)


def upper_bound_for_what_is_reached(patch: pytest.MonkeyPatch) -> None:
    """An upper bound of what a replica has shown counts as what it has."""

    def reached(self: SimulatedBackend, connection: Connection) -> Bookmark | None:
        machine = link_of(connection)._machine
        return None if machine.is_primary else bookmark_of(machine.at_most()[0])

    patch.setattr(SimulatedBackend, "reached", reached)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedBackend, "fences", None)


def shown_is_not_handed_on(patch: pytest.MonkeyPatch) -> None:
    right = Bookmark.encode

    def encode(self: Bookmark, keys: Sequence[bytes] = ()) -> str:
        return right(replace(self, shown=0), keys)

    patch.setattr(Bookmark, "encode", encode)


def what_was_read_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A connection is lost, and with it what the session has read on it before."""
    right = Router.serve_again

    def serve_again(self: Router, error: DBAPIError) -> bool:
        self._transaction.answered = False
        return right(self, error)

    patch.setattr(Router, "serve_again", serve_again)


def located_once_a_transaction(patch: pytest.MonkeyPatch) -> None:
    """What a transaction reads after it was asked for its bookmark does not move the next one."""
    right = Router.reader

    def reader(self: Router) -> Connection:
        transaction = self._transaction
        if transaction.connection is not None and transaction.server is not None:
            return transaction.connection
        return right(self)

    patch.setattr(Router, "reader", reader)


VARIANTS: dict[str, tuple[Patch, tuple[str, ...], int]] = {
    "no check at all": (no_check, ("lag",), 1),
    "the check inside the snapshot": (check_inside_the_snapshot, ("lag",), 1),
    "what a replica says it has taken for all it showed": (
        lower_bound_for_upper,
        ("lag", "silence"),
        11,
    ),
    "the position taken before COMMIT": (position_before_commit, ("lag",), 1),
    "a savepoint taken for a commit": (savepoint_for_commit, ("lag",), 1),
    "unknown taken for caught up": (unknown_is_caught_up, ("lag", "conflict", "drop"), 1),
    "knowledge kept over a restart": (failure_is_forgiven, ("lag", "pause"), 1),
    "incarnations ignored": (incarnations_ignored, ("lag", "crash"), 1),
    "routed by the statement": (routed_by_the_statement, ("lag",), 1),
    "a bookmark that reads do not move": (bookmark_without_reads, ("lag",), 1),
    "a lost connection with all that was read": (what_was_read_is_forgotten, ("lag", "drop"), 3),
    "located once in a transaction": (located_once_a_transaction, ("lag",), 16),
    "a move that is not sampled": (moved_without_sampling, ("lag",), 1),
    "a merge that takes the last": (merge_takes_the_last, ("lag",), 1),
    "all that a replica may have shown taken for what it has": (
        upper_bound_for_what_is_reached,
        ("lag",),
        1,
    ),
    "no fence": (no_fence, ("lag", "stall"), 1),
    "what was shown is not handed on": (shown_is_not_handed_on, ("lag", "stall"), 3),
    "timelines ignored": (blind_to_timelines, ("lag", "promote"), 1),
    "losses not looked for": (losses_untold, ("lag", "promote"), 2),
    "once a primary, always a primary": (once_a_primary, ("lag", "promote"), 1),
    "one server's position for another's": (mixed_knowledge, ("lag", "promote"), 1),
}


def trial(seed: int, faults: tuple[str, ...]) -> Plan:
    return Plan(
        seed=str(seed),
        operations=600,
        replicas=(1, 2),
        faults=faults,
        habits=TrialHabits(keys=4, writes=0.25),
        options={"max_wait": 0.05, "bookmark_keys": ["a secret"]},
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_unsafe_variant_is_caught(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, faults, seed = VARIANTS[variant]
    assert not run(trial(seed, faults)).violations
    patch(monkeypatch)
    assert run(trial(seed, faults)).violations
