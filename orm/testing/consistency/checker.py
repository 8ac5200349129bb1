"""Whether a history keeps what sessions promise.

One pass in the order of what happened before what. Each operation inherits, along its chain and
from the writers of what it reads, the newest version of each key that it must see. Versions are
consecutive numbers that the primary assigned under a row lock, so no order has to be guessed and
the pass is linear in the history (times the number of keys, which is small).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from orm.testing.consistency.history import History, Operation, Seen
from orm.testing.consistency.order import EDGES, Edge, Order

__all__ = ["Anomaly", "Violation", "check"]

_ENOUGH: Final = 200
"""Violations that are looked at for the shortest one."""

_CHAIN: Final[Sequence[Edge]] = ("chain",)
_CAUSES: Final[Sequence[Edge]] = ("chain", "read")


class Anomaly(StrEnum):
    """What was promised and not kept."""

    READ_YOUR_WRITES = "read your writes"
    MONOTONIC_READS = "monotonic reads"
    MONOTONIC_WRITES = "monotonic writes"
    WRITES_FOLLOW_READS = "writes follow reads"
    ATOMIC_VISIBILITY = "atomic visibility"
    CAUSAL_ORDER = "causal order"
    ABORTED_READ = "no reads of what was rolled back"
    LOST_WRITE = "no lost writes"
    ONE_WRITE_A_VERSION = "one write a version"
    UNKNOWN_WRITER = "nothing out of nowhere"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        anomaly: which one.
        reason: what was seen and what should have been.
        history: the operations that show it, in order; as few as will do.
    """

    anomaly: Anomaly
    reason: str
    history: History


def check(history: Iterable[Operation], *, losses: bool = False) -> list[Violation]:
    """Find what contradicts the guarantees.

    Args:
        history: all that was recorded, in any order.
        losses: whether a failover may lose acknowledged writes. They must then have been reported:
            a session that knows of one must not go on as if it had never been.

    Returns:
        The violations that were found, the shortest history first; at most some hundreds, since
        one defect shows in many places.
    """
    operations = list(history)
    lost = _missing(operations)
    check_ = _Check(Order(operations, set(lost) if losses else ()), lost, losses)
    return sorted(check_.run(), key=lambda v: (len(v.history), v.history[-1].end))


def _missing(history: Sequence[Operation]) -> list[Seen]:
    """What was committed and is gone in the end, of the keys that were read in the end."""
    succeeded = [o for o in history if o.outcome == "ok"]
    audits = [o for o in succeeded if o.kind == "audit"]
    if not audits:
        return []
    kept = {seen for audit in audits for seen in audit.reads}
    certain = {o.id for o in history if o.outcome != "failed"}
    # What one wrote that was cut off is known from those who saw it.
    committed = dict.fromkeys(seen for o in succeeded for seen in (*o.writes, *o.reads))
    return [seen for seen in committed if seen.writer in certain and seen not in kept]


class _Check:
    def __init__(self, order: Order, lost: list[Seen], losses: bool) -> None:
        self._order = order
        self._losses = losses
        self._operations = order.operations
        self._succeeded = [o for o in self._operations.values() if o.outcome == "ok"]
        self._audits = [o for o in self._succeeded if o.kind == "audit"]
        self._writes = self._written()
        self._lost = lost
        self._gone = {(lost.key, lost.writer) for lost in self._lost}

    def _written(self) -> dict[str, set[Seen]]:
        """What each operation wrote. Of one that was cut off it is known from those who saw it."""
        written = {o.id: set(o.writes) for o in self._operations.values()}
        for operation in self._succeeded:
            for seen in operation.reads:
                if seen.writer in written:
                    written[seen.writer].add(seen)
        return written

    def run(self) -> Iterator[Violation]:
        for operation in self._succeeded:
            if operation.torn:
                yield Violation(Anomaly.ATOMIC_VISIBILITY, operation.torn, [operation])
            for seen in operation.reads:
                yield from self._origin(operation, seen)
        yield from self._twice()
        if not self._losses:
            for lost in self._lost:
                reason = f"{_name(lost)} was committed, and is not there in the end"
                yield Violation(Anomaly.LOST_WRITE, reason, [self._operations[lost.writer]])
        order, _ = self._order.sorted(_CAUSES)
        known_better = list(islice(self._floors(order), _ENOUGH))
        yield from known_better
        _, tangled = self._order.sorted(EDGES)
        if not known_better and (cycle := self._order.cycle(tangled)):
            reason = "each of these comes before the next one, and so before itself"
            yield Violation(Anomaly.CAUSAL_ORDER, reason, cycle)

    def _origin(self, reader: Operation, seen: Seen) -> Iterator[Violation]:
        writer = self._operations.get(seen.writer)
        if writer is None:
            if seen.writer and self._audits:  # the history is whole
                reason = f"{_name(seen)} is of {seen.writer}, which is not in the history"
                yield Violation(Anomaly.UNKNOWN_WRITER, reason, [reader])
        elif writer.outcome == "failed":
            reason = f"{_name(seen)} was seen, and its transaction had failed"
            yield Violation(Anomaly.ABORTED_READ, reason, [writer, reader])

    def _twice(self) -> Iterator[Violation]:
        first: dict[tuple[int, int], str] = {}
        for operation in self._succeeded:
            for seen in operation.writes:
                other = first.setdefault(seen[:2], operation.id)
                lost = {(seen.key, other), (seen.key, operation.id)} & self._gone
                if other != operation.id and not (lost and self._losses):
                    reason = f"two committed transactions wrote {_name(seen)}"
                    shown = [self._operations[other], operation]
                    yield Violation(Anomaly.ONE_WRITE_A_VERSION, reason, shown)

    # What an operation must see --------------------------------------------------------------

    def _floors(self, order: Sequence[Operation]) -> Iterator[Violation]:
        """Inherit, compare, pass on. What every successor has inherited is forgotten."""
        floors: dict[str, dict[int, Seen]] = {}
        heirs = Counter(
            name for before in self._order.before.values() for name in _causes_among(before)
        )
        for operation in order:
            floor: dict[int, Seen] = {}
            for name, edges in _causes_among(self._order.before[operation.id]).items():
                heirs[name] -= 1
                inherited = floors[name] if heirs[name] else floors.pop(name)
                if floor or heirs[name]:
                    _raise(floor, inherited.values())
                else:
                    floor = inherited  # no other operation inherits it
                if "read" in edges:
                    _raise(floor, self._writes[name])
            if operation.outcome == "ok" and operation.kind != "audit":
                yield from self._against(operation, floor)
                _raise(floor, operation.reads)
                _raise(floor, operation.writes)
            if heirs[operation.id]:
                floors[operation.id] = floor

    def _against(self, operation: Operation, floor: dict[int, Seen]) -> Iterator[Violation]:
        once: dict[int, Seen] = {}
        for seen in operation.reads:
            first = once.setdefault(seen.key, seen)
            if first.version != seen.version:
                reason = f"one transaction saw {_name(first)} and {_name(seen)}"
                yield Violation(Anomaly.ATOMIC_VISIBILITY, reason, [operation])
            least = floor.get(seen.key)
            if least is not None and seen.version < least.version:
                yield self._explain(operation, seen, least, "saw")
            elif least is not None and self._forgets(least, seen):
                yield self._explain_lost(operation, least)
        for seen in operation.writes:
            least = floor.get(seen.key)
            if least is not None and seen.version <= least.version:
                yield self._explain(operation, seen, least, "wrote")
            elif least is not None and self._forgets(least, seen):
                yield self._explain_lost(operation, least)

    def _forgets(self, least: Seen, seen: Seen) -> bool:
        """Whether one who knows of a lost write goes on where it never was."""
        return (least.key, least.writer) in self._gone and (seen.key, seen.writer) not in self._gone

    def _explain_lost(self, operation: Operation, lost: Seen) -> Violation:
        path = self._order.path(
            operation.id, self._who_knew(operation, lost.key, lost.version), _CAUSES
        )
        # There is no path where the history contradicts itself.
        path = path or [self._operations[lost.writer], operation]
        reason = f"{_name(lost)} was lost, and {operation.session} was not told"
        return Violation(Anomaly.LOST_WRITE, reason, path)

    def _explain(self, operation: Operation, seen: Seen, least: Seen, did: str) -> Violation:
        knew = self._who_knew(operation, seen.key, seen.version + (did == "saw"))
        path = self._order.path(operation.id, knew, _CHAIN)
        along_chain = bool(path)
        path = path or self._order.path(operation.id, knew, _CAUSES)
        # No operation lies between the two where the version is known from a failed transaction.
        path = path or self._order.path(operation.id, {least.writer}, _CAUSES)
        known = max(s for s in (*path[0].reads, *self._writes[path[0].id]) if s.key == seen.key)
        wrote = known in self._writes[path[0].id]
        if did == "wrote":
            anomaly = Anomaly.MONOTONIC_WRITES if wrote else Anomaly.WRITES_FOLLOW_READS
        elif along_chain:
            anomaly = Anomaly.READ_YOUR_WRITES if wrote else Anomaly.MONOTONIC_READS
        elif len(path) == 2 and wrote:
            anomaly = Anomaly.ATOMIC_VISIBILITY
        else:
            anomaly = Anomaly.WRITES_FOLLOW_READS
        reason = f"{operation.session} {did} {_name(seen)}, after {_name(known)}"
        return Violation(anomaly, reason, path)

    def _who_knew(self, operation: Operation, key: int, least: int) -> set[str]:
        """The operations that saw or wrote some version of a key, or a later one."""
        return {
            other.id
            for other in self._operations.values()
            if other is not operation and other.kind != "audit" and other.outcome != "failed"
            if any(
                s.key == key and s.version >= least for s in (*other.reads, *self._writes[other.id])
            )
        }


def _causes_among(before: Iterable[tuple[str, Edge]]) -> dict[str, set[Edge]]:
    causes: dict[str, set[Edge]] = {}
    for name, edge in before:
        if edge in _CAUSES:
            causes.setdefault(name, set()).add(edge)
    return causes


def _raise(floor: dict[int, Seen], to: Iterable[Seen]) -> None:
    for seen in to:
        if seen.key not in floor or floor[seen.key].version < seen.version:
            floor[seen.key] = seen


def _name(seen: Seen) -> str:
    return f"version {seen.version} of key {seen.key}"
