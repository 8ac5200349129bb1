"""A connection to a simulated server, as DB-API has it.

Each request and each answer takes virtual time, and may be cut off on its way.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from orm._greenlet import await_
from tests.harness.simulation.store import Snapshot, Statement, Transaction, understood
from tests.harness.simulation.world import Machine, World

__all__ = [
    "Conflict",
    "Error",
    "Link",
    "Lost",
    "OperationalError",
    "ReadOnly",
    "Recovering",
    "link_of",
]

_T = TypeVar("_T")

_LOCK_TIMEOUT: Final = 2.0
_DONE: Final = Statement(lambda *_: [], ())
_SAVEPOINT: Final = re.compile(r"(?P<verb>(ROLLBACK TO |RELEASE )?SAVEPOINT) (?P<name>\w+)")
_QUESTIONS: Final = {
    name: Statement(lambda *_: [], (name,))
    for name in ("position", "at_most", "shows", "written", "hidden", "shown", "ending")
}
"""Methods of `Machine`."""


class Error(Exception):
    """Of the driver, as DB-API has it."""


class OperationalError(Error):
    """Of the server or the way to it."""


class Lost(OperationalError):
    """The connection is gone, or could not be made."""


class Conflict(OperationalError):
    """A replica cancelled the statement, to go on replaying."""


class Recovering(OperationalError):
    """A replica was asked what only a primary can tell."""


class ReadOnly(OperationalError):
    """A write met a read-only server."""


class LockTimeout(OperationalError):
    """Another transaction held the row for too long."""


class Link:
    """A connection, as DB-API has it.

    Args:
        world: where it is.
        machine: what it leads to.
        writes: whether it is in transactions that may write; if not, it is in autocommit.
    """

    def __init__(self, world: World, machine: Machine, writes: bool) -> None:
        self._world = world
        self._machine = machine
        self._writes = writes
        self._chance = world.chance
        self.incarnation = machine.incarnation
        self.standby = False
        """What it was when it was last asked where it is."""
        self.transaction: Transaction | None = None
        self.committed_at: dict[int, int] | None = None
        self.repeats = False
        """Whether the transaction that begins next is to be one of repeatable reads."""
        self.frozen_at: Snapshot | None = None
        """What its repeatable reads see; None in autocommit."""
        self._lost = False
        self._way: asyncio.Timeout | None = None
        """Of the request or answer that is under way; it may be cut off."""

    # What SQLAlchemy asks of it --------------------------------------------------------------

    def cursor(self, *, server_side: bool = False) -> "_Cursor":
        return _Cursor(self, server_side)

    def begin(self) -> None:
        """Begin a transaction; one that writes begins with its first statement."""
        if self.repeats:
            await_(self.request(self._freeze))

    def commit(self) -> None:
        if self.transaction is not None:
            self.committed_at = await_(self._commit())

    def rollback(self) -> None:
        if self.transaction is not None or self.frozen_at is not None:
            await_(self.request(self._roll_back))
        else:
            await_(asyncio.sleep(0))  # where drivers, too, can be cancelled

    def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        """Hang up."""
        self._lost = True
        self._roll_back()

    def hang_up(self) -> None:
        """Cut off what is under way, which fails as if the server had closed the connection."""
        self._lost = True
        if self._way is not None:
            self._way.reschedule(asyncio.get_running_loop().time())
        else:
            self._roll_back()

    # On the server ---------------------------------------------------------------------------

    async def _commit(self) -> dict[int, int] | None:
        transaction = self.transaction
        at = await self.request(self._commit_now, late=True)
        if transaction is not None and transaction.number in transaction.store.running:
            while transaction.number in transaction.store.running:
                await transaction.store.unlocked.wait()
            await self._travel()
        return at

    def _commit_now(self) -> dict[int, int] | None:
        transaction, self.transaction = self.transaction, None
        if transaction is None or not self._machine.is_primary:
            return None
        wrote = bool(transaction.registers or transaction.entries)
        self._machine.commit(transaction)
        return self._machine.at_most()[0] if wrote else None

    def _freeze(self) -> None:
        self.frozen_at = self._machine.snapshot

    def _roll_back(self) -> None:
        transaction, self.transaction = self.transaction, None
        self.frozen_at, self.repeats = None, False
        if transaction is not None:
            transaction.store.unlock(transaction)

    async def execute(self, sql: str, parameters: Sequence[Any]) -> tuple[Statement, list[Any]]:
        """Answer a statement of the workload, or a question to the machine."""
        machine, chance = self._machine, self._chance
        if sql in _QUESTIONS:
            return _QUESTIONS[sql], await self.request(lambda: self._ask(sql, parameters))
        if point := _SAVEPOINT.fullmatch(sql):
            return _DONE, await self.request(lambda: self._savepoint(point["verb"], point["name"]))
        statement = understood(sql)
        if not machine.is_primary and chance.random() < self._world.conflicts:
            await self._travel()
            raise Conflict("canceling statement due to conflict with recovery")
        if statement.locks is not None:
            if not self._writes or not machine.is_primary:
                raise ReadOnly("cannot execute a write in a read-only transaction")
            self._begin()
            await self.request(lambda: None)
            await self._lock(parameters[statement.locks])
        elif self._writes:
            self._begin()

        def run() -> list[Any]:
            at = machine.snapshot if self.frozen_at is None else self.frozen_at
            return statement.run(machine.store, at, self.transaction, parameters)

        return statement, await self.request(run)

    def _ask(self, question: str, parameters: Sequence[Any]) -> list[Any]:
        self.standby = not self._machine.is_primary
        if question in ("written", "ending") and self.standby:
            raise Recovering("recovery is in progress")
        return [(getattr(self._machine, question)(*parameters),)]

    def _savepoint(self, verb: str, name: str) -> list[Any]:
        transaction = self._begin()
        if verb == "SAVEPOINT":
            transaction.save(name)
        elif verb == "ROLLBACK TO SAVEPOINT":
            transaction.back_to(name)
        return []

    def _begin(self) -> Transaction:
        if self._lost:
            raise Lost("the connection is closed")
        if self.transaction is None:
            self.transaction, self.committed_at = Transaction(self._machine.store), None
        return self.transaction

    async def _lock(self, key: int) -> None:
        mine = self._begin()
        store = mine.store
        try:
            async with asyncio.timeout(_LOCK_TIMEOUT):
                while store.locks.get(key, mine) is not mine:
                    await store.unlocked.wait()
        except TimeoutError:
            raise LockTimeout("canceling statement due to lock timeout") from None
        if mine is not self.transaction:
            raise Lost("the connection was closed by the server")
        store.locks[key] = mine

    # On the way ------------------------------------------------------------------------------

    async def request(self, work: Callable[[], _T], *, late: bool = False) -> _T:
        """Have the server do something.

        Args:
            work: what it does, at one moment.
            late: whether it may still do it when the client no longer waits for the answer.
        """
        chance, world = self._chance, self._world
        try:
            await self._travel()
        except (asyncio.CancelledError, Lost):
            if late and chance.random() < 0.5:
                self._post(work)
            else:
                self._roll_back()
            raise
        if chance.random() < world.drops:
            if late and chance.random() < 0.5:
                self._post(work)
            elif chance.random() < 0.5:
                work()
            self.terminate()
            raise Lost("connection reset by peer")
        done = work()
        if chance.random() < 0.5:
            await self._travel()
        return done

    def _post(self, work: Callable[[], object]) -> None:
        """The request is on its way, and its sender is gone."""
        transaction, self.transaction = self.transaction, None
        starts = self._machine.starts

        def arrive() -> None:
            if not self._machine.reachable:  # it arrives when the server is
                self._machine.when_reached(arrive)
                return
            self.transaction = transaction
            (work if self._machine.starts == starts else self._roll_back)()

        delay = self._chance.random() * 10 * self._world.latency
        asyncio.get_running_loop().call_later(delay, arrive)

    async def _travel(self) -> None:
        machine, chance = self._machine, self._chance
        delay = machine.slow
        if chance.random() < 0.7:
            delay += chance.random() * self._world.latency
        try:
            async with asyncio.timeout(None) as self._way:
                if delay:
                    await asyncio.sleep(delay)
                if not machine.reachable:
                    await machine.reached()
        except TimeoutError:
            pass  # it was cut off
        finally:
            self._way = None
        if self._lost or machine.incarnation != self.incarnation:
            self.terminate()
            raise Lost("the server closed the connection")


class _Cursor:
    """As DB-API has it; all rows come at once unless it is `server_side`."""

    description: list[tuple[Any, ...]] | None = None
    rowcount = -1
    arraysize = 1
    lastrowid = None

    def __init__(self, link: Link, server_side: bool) -> None:
        self._link = link
        self._rows: list[Any] = []
        self._next = 0
        self.server_side = server_side

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        statement, self._rows = await_(self._link.execute(sql, parameters))
        self._next = 0
        self.rowcount = len(self._rows) if statement.columns else 1
        self.description = [(name, *[None] * 6) for name in statement.columns] or None

    def fetchall(self) -> list[Any]:
        rows, self._next = self._rows[self._next :], len(self._rows)
        return rows

    def fetchmany(self, size: int | None = None) -> list[Any]:
        if self.server_side:
            await_(self._link.request(lambda: None))
        first, self._next = self._next, self._next + (size or self.arraysize)
        return self._rows[first : self._next]

    def fetchone(self) -> Any:
        return next(iter(self.fetchmany(1)), None)

    async def _async_soft_close(self) -> None:
        """SQLAlchemy's asyncio extension asks for it; there is nothing to wait for."""

    def close(self) -> None:
        self._rows = []


def link_of(connection: Connection) -> Link:
    """The driver's connection."""
    link: Any = connection.connection.dbapi_connection
    assert isinstance(link, Link)
    return link
