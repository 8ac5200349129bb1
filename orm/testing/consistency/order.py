"""Happened before: the order that sessions, bookmarks, reads and versions impose."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from orm.testing.consistency.history import History, Operation, Seen

__all__ = ["EDGES", "Edge", "Order"]

Edge: TypeAlias = Literal["chain", "read", "version"]
"""Why one operation comes before another: it is earlier along a chain of sessions; it wrote what
the other one read; it wrote the version before the other one's."""

EDGES: Final[tuple[Edge, ...]] = ("chain", "read", "version")

_STARTS: Final = 1000
"""Operations of a tangle from which a shortest cycle is looked for."""


class Order:
    """The operations of a history, and which one comes directly before which.

    Args:
        history: all of them.
        lost: writes after which others began their versions anew.
    """

    def __init__(self, history: Iterable[Operation], lost: Collection[Seen] = ()) -> None:
        self._lost = lost
        self.operations: dict[str, Operation] = {o.id: o for o in history}
        self.before: dict[str, list[tuple[str, Edge]]] = {
            o.id: list(self._edges(o)) for o in self.operations.values()
        }
        for earlier, later in self._versions():
            self.before[later].append((earlier, "version"))

    def _edges(self, operation: Operation) -> Iterable[tuple[str, Edge]]:
        for earlier in operation.after:
            if earlier in self.operations:
                yield earlier, "chain"
        if operation.kind != "audit" and operation.outcome == "ok":
            for writer in dict.fromkeys(seen.writer for seen in operation.reads):
                if writer in self.operations and writer != operation.id:
                    yield writer, "read"

    def _versions(self) -> Iterable[tuple[str, str]]:
        lines: dict[int, list[tuple[int, str]]] = {}
        for operation in self.operations.values():
            if operation.outcome == "ok":
                for seen in operation.writes:
                    if seen not in self._lost:
                        lines.setdefault(seen.key, []).append((seen.version, operation.id))
        for line in lines.values():
            for (_, earlier), (_, later) in pairwise(sorted(line)):
                if earlier != later:
                    yield earlier, later

    def sorted(self, by: Collection[Edge]) -> tuple[list[Operation], list[str]]:
        """The operations, each after all that come before it; and those in cycles or behind one."""
        waits = dict.fromkeys(self.operations, 0)
        after: dict[str, list[str]] = {name: [] for name in self.operations}
        for name, before in self.before.items():
            for earlier, edge in before:
                if edge in by:
                    waits[name] += 1
                    after[earlier].append(name)
        ready = deque(name for name, count in waits.items() if not count)
        order: list[Operation] = []
        while ready:
            name = ready.popleft()
            order.append(self.operations[name])
            for later in after[name]:
                waits[later] -= 1
                if not waits[later]:
                    ready.append(later)
        return order, [name for name, count in waits.items() if count]

    def cycle(self, among: Sequence[str]) -> History:
        """A shortest cycle through some operations; empty if there is none."""
        best: History = []
        for name in among[:_STARTS]:
            found = self.path(name, {name}, EDGES)
            if found and (not best or len(found) < len(best)):
                best = found
        return best

    def path(self, end: str, starts: Collection[str], by: Collection[Edge]) -> History:
        """The shortest history that leads from one of some operations to another.

        Args:
            end: where it is to lead.
            starts: where it may start; with `end` among them, a cycle is looked for.
            by: the edges that it may take.

        Returns:
            Operations that directly follow each other. Of a chain only its two ends are left, and
            the bookmarks in between that were handed on. Empty if there is none.
        """
        next_: dict[str, tuple[str, Edge]] = {}
        ahead = deque([(0, end)])
        costs = {end: 0}
        while ahead:
            cost, name = ahead.popleft()
            if name in starts and next_.get(name):
                return self._contracted(name, end, next_)
            if cost > costs[name]:
                continue
            for earlier, edge in self.before[name]:
                free = edge == "chain" and self.operations[earlier].kind != "bookmark"
                reached = cost + (not free)
                closes = earlier == end and end in starts and end not in next_
                if edge in by and (closes or reached < costs.get(earlier, reached + 1)):
                    costs[earlier] = reached
                    next_[earlier] = name, edge
                    (ahead.appendleft if free else ahead.append)((reached, earlier))
        return []

    def _contracted(self, start: str, end: str, next_: dict[str, tuple[str, Edge]]) -> History:
        shown = [self.operations[start]]
        name, arrived_by = start, None
        while name != end or arrived_by is None:
            later, edge = next_[name]
            middle = arrived_by == edge == "chain" and shown[-1].kind != "bookmark"
            if middle:
                shown.pop()
            after = (shown[-1].id,) if edge == "chain" else ()
            shown.append(replace(self.operations[later], after=after))
            name, arrived_by = later, edge
        if start == end:  # a cycle: its first is its last
            shown[0] = shown.pop()
        else:
            shown[0] = replace(shown[0], after=())
        return shown
