"""What the servers hold: each commit's rows, and the statements of the workload.

A server's state is a timeline and a number of commits; reading at a number sees what was committed
up to it.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

__all__ = ["Statement", "Store", "Transaction", "understood"]

Row = tuple[Any, ...]

_END: Final = 2**62


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
        self.locks: dict[int, Transaction] = {}
        self.unlocked = asyncio.Event()
        self.registers = {key: _Lines([0], [(key, 0, "")]) for key in range(keys)}
        self.logs = {key: _Lines([], []) for key in range(keys)}

    def fork(self, at: int, timeline: int) -> "Store":
        """A new timeline, on which nothing after `at` has ever happened."""
        new = Store(0)
        new.timeline, new.forks, new.commits = timeline, self.where(at), at
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

    def unlock(self, transaction: "Transaction") -> None:
        """Give back the row locks of a transaction that is over."""
        mine = [key for key, holder in self.locks.items() if holder is transaction]
        for key in mine:
            del self.locks[key]
        if mine:
            self._let_go()

    def unlock_all(self) -> None:
        """Forget all transactions."""
        self.locks.clear()
        self._let_go()

    def _let_go(self) -> None:
        self.unlocked.set()
        self.unlocked = asyncio.Event()

    def commit(self, transaction: "Transaction") -> int:
        """Make a transaction's rows visible; the number of its commit."""
        if transaction.registers or transaction.entries:
            self.commits += 1
            for key, row in transaction.registers.items():
                self._append(self.registers[key], row)
            for row in transaction.entries:
                self._append(self.logs[row[0]], row)
        return self.commits

    def _append(self, lines: _Lines, row: Row) -> None:
        lines.at.append(self.commits)
        lines.rows.append(row)

    def register(self, key: int, commit: int) -> Row:
        lines = self.registers[key]
        return lines.rows[lines.until(commit) - 1]

    def log(self, key: int, commit: int) -> list[Row]:
        lines = self.logs[key]
        return lines.rows[: lines.until(commit)]


class _Savepoint(NamedTuple):
    registers: Mapping[int, Row]
    entries: int


@dataclass(slots=True)
class Transaction:
    """What was written and not committed yet."""

    registers: dict[int, Row] = field(default_factory=dict)
    entries: list[Row] = field(default_factory=list)
    savepoints: dict[str, _Savepoint] = field(default_factory=dict)

    def save(self, name: str) -> None:
        self.savepoints[name] = _Savepoint(dict(self.registers), len(self.entries))

    def back_to(self, name: str) -> None:
        registers, entries = self.savepoints[name]
        self.registers = dict(registers)
        del self.entries[entries:]


_NOTHING: Final = Transaction()


class Statement(NamedTuple):
    """A statement that the servers understand.

    Attributes:
        run: answers it, given the store, the commit to read at, the transaction and the parameters.
        columns: of the answer; empty if it has no rows.
        locks: the index of the parameter that is the key it locks; None if it only reads.
    """

    run: Callable[[Store, int, Transaction, Sequence[Any]], list[Row]]
    columns: tuple[str, ...]
    locks: int | None = None


def _some(store: Store, at: int, own: Transaction, keys: Iterable[int]) -> list[Row]:
    return [own.registers.get(key) or store.register(key, at) for key in keys]


def _all_registers(store: Store, at: int, own: Transaction, _: Sequence[Any]) -> list[Row]:
    return _some(store, at, own, store.registers)


def _one_log(store: Store, at: int, own: Transaction, keys: Sequence[Any]) -> list[Row]:
    return store.log(keys[0], at) + [row for row in own.entries if row[0] == keys[0]]


def _all_logs(store: Store, at: int, own: Transaction, _: Sequence[Any]) -> list[Row]:
    return [row for key in store.logs for row in _one_log(store, at, own, [key])]


def _tops(store: Store, at: int, own: Transaction, _: Sequence[Any]) -> list[Row]:
    logs = {key: _one_log(store, at, own, [key]) for key in store.logs}
    return [(key, max(row[1] for row in log), len(log)) for key, log in logs.items() if log]


def _raise(store: Store, _at: int, own: Transaction, parameters: Sequence[Any]) -> list[Row]:
    step, writer, key = parameters
    # The row's lock is held: its latest version is read, whatever the snapshot.
    (old,) = _some(store, _END, own, [key])
    own.registers[key] = (key, old[1] + step, writer)
    return [(old[1] + step,)]


def _enter(_s: Store, _at: int, own: Transaction, parameters: Sequence[Any]) -> list[Row]:
    own.entries.append(tuple(parameters))
    return []


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
