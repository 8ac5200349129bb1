"""What the servers hold: each commit's rows, and the statements of the workload.

A server's state is a timeline and a number of commits; reading at a number sees what was committed
up to it. On the primary some commits are not seen yet that replicas may show already: they wait for
a synchronous standby.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

__all__ = ["Snapshot", "Statement", "Store", "Transaction", "understood"]

Row = tuple[Any, ...]


class Snapshot(NamedTuple):
    """What a statement sees.

    Attributes:
        at: commits up to this one,
        without: but not these.
    """

    at: int
    without: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Lines:
    """The rows of one key of one table, oldest first, and the commit of each."""

    at: list[int]
    rows: list[Row]

    def first(self, commit: int) -> "_Lines":
        end = self.until(commit)
        return _Lines(self.at[:end], self.rows[:end])

    def until(self, commit: int) -> int:
        at = self.at
        return len(at) if at[-1:] <= [commit] else bisect_right(at, commit)

    def seen(self, by: Snapshot) -> int:
        end = self.until(by.at)
        if by.without:  # its row is locked: there is no later version
            while end and self.at[end - 1] in by.without:
                end -= 1
        return end


class Store:
    """All that was ever committed on one timeline.

    Args:
        keys: how many registers there are, each at version 0.
    """

    def __init__(self, keys: int) -> None:
        self.timeline = 1
        self.forks: dict[int, int] = {}
        """Where each timeline that it comes from was left."""
        self.commits = 0
        self.next = 1
        """The number of the next transaction that writes."""
        self.running: dict[int, int | None] = {}
        """Those that the primary does not show, by number; the commit of each that is one."""
        self.commit_of: dict[int, int] = {}
        """By the number of each transaction that has committed."""
        self.ends = [1]
        """By commit: what no transaction up to it has reached with its number."""
        self.locks: dict[int, Transaction] = {}
        self.unlocked = asyncio.Event()
        self.registers = {key: _Lines([0], [(key, 0, "")]) for key in range(keys)}
        self.logs = {key: _Lines([], []) for key in range(keys)}

    def fork(self, at: int, timeline: int) -> "Store":
        """A new timeline, on which nothing after `at` has ever happened."""
        new = Store(0)
        new.timeline, new.forks, new.commits = timeline, self.where(at), at
        new.commit_of = {number: on for number, on in self.commit_of.items() if on <= at}
        new.ends = self.ends[: at + 1]
        new.next = new.ends[at]
        new.registers = {key: lines.first(at) for key, lines in self.registers.items()}
        new.logs = {key: lines.first(at) for key, lines in self.logs.items()}
        return new

    def where(self, at: int) -> dict[int, int]:
        """A position on every timeline that led to it; the last one is where it is."""
        passed = {old: fork for old, fork in self.forks.items() if fork <= at}
        last = min(self.forks.keys() - passed, default=self.timeline)
        return passed | {last: at}

    def common(self, at: int, other: "Store") -> int:
        """How much another timeline has of what this one has up to `at`."""
        theirs, common = other.where(other.commits), 0
        for timeline, mine in self.where(at).items():
            common = max(common, min(mine, theirs.get(timeline, 0)))
            if mine != theirs.get(timeline):
                break
        return common

    def number(self, transaction: "Transaction") -> None:
        """A transaction writes."""
        if not transaction.number:
            transaction.number, self.next = self.next, self.next + 1
            self.running[transaction.number] = None

    def unlock(self, transaction: "Transaction") -> None:
        """Give back the row locks of a transaction that is over, and show what it wrote."""
        self.running.pop(transaction.number, None)
        mine = [key for key, holder in self.locks.items() if holder is transaction]
        for key in mine:
            del self.locks[key]
        if mine:
            self._let_go()

    def unlock_all(self) -> None:
        """Forget all transactions that have not committed, and show all that have."""
        self.locks.clear()
        self.running.clear()
        self._let_go()

    def _let_go(self) -> None:
        self.unlocked.set()
        self.unlocked = asyncio.Event()

    def commit(self, transaction: "Transaction") -> int:
        """Write a transaction down, to be shown when it is unlocked; the number of its commit."""
        if transaction.registers or transaction.entries:
            self.commits += 1
            number = transaction.number
            self.commit_of[number] = self.running[number] = self.commits
            self.ends.append(max(self.ends[-1], number + 1))
            for key, row in transaction.registers.items():
                self._append(self.registers[key], row)
            for row in transaction.entries:
                self._append(self.logs[row[0]], row)
        return self.commits

    def _append(self, lines: _Lines, row: Row) -> None:
        lines.at.append(self.commits)
        lines.rows.append(row)

    @property
    def latest(self) -> Snapshot:
        """What the primary sees now."""
        return Snapshot(self.commits, frozenset(on for on in self.running.values() if on))

    def register(self, key: int, by: Snapshot) -> Row:
        lines = self.registers[key]
        return lines.rows[lines.seen(by) - 1]

    def log(self, key: int, by: Snapshot) -> list[Row]:
        lines = self.logs[key]
        return lines.rows[: lines.seen(by)]


class _Savepoint(NamedTuple):
    registers: Mapping[int, Row]
    entries: int


@dataclass(slots=True)
class Transaction:
    """What was written and not committed yet.

    Attributes:
        store: where it was begun.
        number: 0 until it writes.
    """

    store: Store
    number: int = 0
    registers: dict[int, Row] = field(default_factory=dict)
    entries: list[Row] = field(default_factory=list)
    savepoints: dict[str, _Savepoint] = field(default_factory=dict)

    def save(self, name: str) -> None:
        self.savepoints[name] = _Savepoint(dict(self.registers), len(self.entries))

    def back_to(self, name: str) -> None:
        registers, entries = self.savepoints[name]
        self.registers = dict(registers)
        del self.entries[entries:]


class Statement(NamedTuple):
    """A statement that the servers understand.

    Attributes:
        run: answers it, given the store, what it sees, the transaction and the parameters.
        columns: of the answer; empty if it has no rows.
        locks: the index of the parameter that is the key it locks; None if it only reads.
    """

    run: Callable[[Store, Snapshot, Transaction | None, Sequence[Any]], list[Row]]
    columns: tuple[str, ...]
    locks: int | None = None


def _some(store: Store, at: Snapshot, own: Transaction | None, keys: Iterable[int]) -> list[Row]:
    mine = own.registers if own else {}
    return [mine.get(key) or store.register(key, at) for key in keys]


def _all_registers(
    store: Store, at: Snapshot, own: Transaction | None, _: Sequence[Any]
) -> list[Row]:
    return _some(store, at, own, store.registers)


def _one_log(store: Store, at: Snapshot, own: Transaction | None, keys: Sequence[Any]) -> list[Row]:
    mine = own.entries if own else []
    return store.log(keys[0], at) + [row for row in mine if row[0] == keys[0]]


def _all_logs(store: Store, at: Snapshot, own: Transaction | None, _: Sequence[Any]) -> list[Row]:
    return [row for key in store.logs for row in _one_log(store, at, own, [key])]


def _tops(store: Store, at: Snapshot, own: Transaction | None, _: Sequence[Any]) -> list[Row]:
    logs = {key: _one_log(store, at, own, [key]) for key in store.logs}
    return [(key, max(row[1] for row in log), len(log)) for key, log in logs.items() if log]


def _raise(
    store: Store, _at: Snapshot, own: Transaction | None, parameters: Sequence[Any]
) -> list[Row]:
    step, writer, key = parameters
    assert own is not None
    store.number(own)
    # The row's lock is held: its latest version is read, whatever the snapshot.
    (old,) = _some(store, _LATEST, own, [key])
    own.registers[key] = (key, old[1] + step, writer)
    return [(old[1] + step,)]


def _enter(
    store: Store, _at: Snapshot, own: Transaction | None, parameters: Sequence[Any]
) -> list[Row]:
    assert own is not None
    store.number(own)
    own.entries.append(tuple(parameters))
    return []


_LATEST: Final = Snapshot(2**62)
_ROW: Final = ("key", "version", "writer")
_REGISTER: Final = (
    r"SELECT orm_verify_register\.key, orm_verify_register\.version, orm_verify_register\.writer "
    r"FROM orm_verify_register"
)
_LOG: Final = (
    r"SELECT orm_verify_log\.key, orm_verify_log\.version, orm_verify_log\.writer "
    r"FROM orm_verify_log"
)
_STATEMENTS: Final[Sequence[tuple[str, Statement]]] = [
    (_REGISTER, Statement(_all_registers, _ROW)),
    (_REGISTER + r" WHERE orm_verify_register\.key IN \([?, ]+\)", Statement(_some, _ROW)),
    (_LOG, Statement(_all_logs, _ROW)),
    (
        _LOG + r" WHERE orm_verify_log\.key = \? ORDER BY orm_verify_log\.version",
        Statement(_one_log, _ROW),
    ),
    (
        r"SELECT orm_verify_log\.key, max\(orm_verify_log\.version\) AS max_1, "
        r"count\(\*\) AS count_1 FROM orm_verify_log GROUP BY orm_verify_log\.key",
        Statement(_tops, ("key", "max_1", "count_1")),
    ),
    (
        r"UPDATE orm_verify_register SET version=\(orm_verify_register\.version \+ \?\), "
        r"writer=\? WHERE orm_verify_register\.key = \? RETURNING orm_verify_register\.version",
        Statement(_raise, ("version",), 2),
    ),
    (
        r"INSERT INTO orm_verify_log \(key, version, writer\) VALUES \(\?, \?, \?\)",
        Statement(_enter, (), 0),
    ),
]


@cache
def understood(sql: str) -> Statement:
    """The statement that a text is.

    Raises:
        NotImplementedError: it is none of the workload's.
    """
    flat = " ".join(sql.split())
    for pattern, statement in _STATEMENTS:
        if re.fullmatch(pattern, flat):
            return statement
    raise NotImplementedError(f"the simulated servers do not understand: {flat}")
