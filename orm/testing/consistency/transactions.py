"""What clients do in a session: transactions that read, and transactions that write."""

import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy.exc import DBAPIError

from orm.session import BookmarkSession
from orm.testing.consistency.history import Kind, Operation, Seen
from orm.testing.consistency.tables import (
    APPEND,
    INCREASE,
    RAISE,
    VERSION,
    log_of,
    registers,
    seen_in,
)

__all__ = ["Habits", "Notes", "Operate", "Transactions", "Work", "roll_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a client does, and how often.

    Attributes:
        keys: how many there are.
        writes: which share of its transactions write.
        latest: how many entries of a log it reads, if not all.
        rests: seconds after an operation that failed.
    """

    keys: int = 8
    writes: float = 0.35
    latest: int | None = None
    rests: float = 0.0


@dataclass(slots=True)
class Notes:
    """What an operation has come to, so far."""

    reads: list[Seen] = field(default_factory=list)
    writes: list[Seen] = field(default_factory=list)
    committing: bool = False
    rolled_back: bool = False
    torn: str = ""
    handed: str = ""


Work: TypeAlias = Callable[[str, Notes], Coroutine[Any, Any, None]]
Operate: TypeAlias = Callable[[Kind, Work], Awaitable[Operation]]
"""Does some work, and says what came of it."""


async def roll_back(session: BookmarkSession) -> None:
    """End what a session has begun, whether or not its connection is still there."""
    with suppress(DBAPIError):  # the connection is gone, and its transaction with it
        await session.rollback()


class Transactions:
    """The transactions of one session.

    Args:
        session: whose.
        operate: does each of their operations.
        hand_out: hands out a bookmark of the session.
        habits: how many keys there are, and how often to write.
        chance: decides.
    """

    def __init__(
        self,
        session: BookmarkSession,
        operate: Operate,
        hand_out: Callable[[], Awaitable[None]],
        habits: Habits,
        chance: random.Random,
    ) -> None:
        self._session = session
        self._operate = operate
        self._hand_out = hand_out
        self._habits = habits
        self._chance = chance

    async def one(self) -> None:
        """Any of them."""
        chance = self._chance
        if chance.random() < self._habits.writes:
            transaction: Callable[[], Awaitable[object]] = chance.choice(
                [self._begin, self._begin, self._autobegin, self._after_read, self._savepoint]
            )
        else:
            transaction = chance.choice([self._reads, self._reads, self._repeatable, self._stream])
        await transaction()

    async def look(self) -> None:
        """Read the registers, and nothing else."""

        async def work(_: str, notes: Notes) -> None:
            notes.reads += map(seen_in, await self._session.execute(registers()))

        await self._operate("read", work)
        await roll_back(self._session)

    async def _reads(self) -> None:
        """A transaction that only reads: each statement for itself.

        A bookmark is asked for between two of them at times, and that moves on with the second.
        """
        for _ in range(self._chance.randint(1, 3)):
            await self._operate("read", self._read)
            if self._chance.random() < 0.15:
                await self._hand_out()
        await (self._session.commit() if self._chance.random() < 0.5 else self._session.rollback())

    async def _repeatable(self) -> None:
        """A read-only transaction: all its statements see one state."""

        async def work(id_: str, notes: Notes) -> None:
            async with self._session.begin(read_only=True):
                for _ in range(self._chance.randint(2, 4)):
                    await self._read(id_, notes)

        await self._operate("read", work)

    async def _stream(self) -> None:
        """A stream that is read in part, and left in one way or another."""

        async def work(_id: str, notes: Notes) -> None:
            result = await self._session.stream(registers())
            for _ in range(self._chance.randint(0, self._habits.keys)):
                row = await result.fetchone()
                if row is not None:
                    notes.reads.append(seen_in(row))
            if self._chance.random() < 0.3:
                await result.close()

        await self._operate("read", work)
        match self._chance.randrange(3):
            case 0:
                await roll_back(self._session)
            case 1:
                await self._session.commit()
            case _:
                await self._operate("read", self._read)
                await roll_back(self._session)

    async def _read(self, _: str, notes: Notes) -> None:
        chance, keys = self._chance, self._habits.keys
        match chance.randrange(4):
            case 0:
                some = chance.sample(range(keys), k=min(2, keys))
                rows = await self._session.execute(registers(tuple(some)))
                notes.reads += map(seen_in, rows)
            case 1:
                rows = await self._session.execute(registers())
                notes.reads += map(seen_in, rows)
            case 2:
                await self._read_log(notes, chance.randrange(keys))
            case _:
                row = (await self._session.execute(registers((chance.randrange(keys),)))).one()
                notes.reads.append(seen_in(row))

    async def _read_log(self, notes: Notes, key: int) -> None:
        most = self._habits.latest
        rows = (await self._session.execute(log_of(key, most))).all()
        versions = sorted(row.version for row in rows)
        top = max(versions, default=0)
        first = 1 if most is None else max(1, top - most + 1)
        if versions != list(range(first, top + 1)):
            missing = sorted(set(range(first, top)) - set(versions))
            notes.torn = f"the log of key {key} has {len(versions)} entries, and lacks {missing}"
        newest = max(rows, key=lambda row: row.version, default=None)
        notes.reads.append(seen_in(newest) if newest else Seen(key, 0, ""))

    # Writing -------------------------------------------------------------------------------

    async def _block(self, write: Work, gives_up: float) -> None:
        """A block that says that it will write, and at times thinks better of it."""

        async def work(id_: str, notes: Notes) -> None:
            async with self._session.begin() as transaction:
                await write(id_, notes)
                if self._chance.random() < gives_up:
                    await transaction.rollback()
                    notes.rolled_back = True
                notes.committing = not notes.rolled_back

        await self._operate("write", work)

    async def _begin(self) -> None:
        await self._block(self._write, 0.15)

    async def _autobegin(self) -> None:
        """A transaction that begins by itself, and with a write."""

        async def work(id_: str, notes: Notes) -> None:
            await self._write(id_, notes)
            notes.committing = True
            await self._session.commit()

        await self._operate("write", work)

    async def _after_read(self) -> None:
        """A transaction that begins with a read, on a replica, and goes on to write."""
        read = await self._operate("read", self._read)
        if read.outcome == "ok":
            await self._autobegin()
        await roll_back(self._session)

    async def _savepoint(self) -> None:
        """A savepoint that is released; then the whole is committed, or rolled back."""

        async def write(id_: str, notes: Notes) -> None:
            async with self._session.begin_nested():
                await self._write(id_, notes)

        await self._block(write, 0.4)

    async def _raise(self, key: int, id_: str) -> int:
        """Raise the version of a register; the new one."""
        session, parameters = self._session, {"of": key, "by": id_}
        if session.get_bind().dialect.update_returning:
            raised = await session.execute(RAISE, parameters)
        else:
            await session.execute(INCREASE, parameters)
            raised = await session.execute(VERSION, {"of": key})
        version: int = raised.scalar_one()
        return version

    async def _write(self, id_: str, notes: Notes) -> None:
        keys = self._habits.keys
        # In order, so that two of these never wait for each other's rows.
        some = sorted(self._chance.sample(range(keys), k=min(keys, self._chance.choice([1, 1, 2]))))
        for key in some:
            version = await self._raise(key, id_)
            entry = {"key": key, "version": version, "writer": id_}
            await self._session.execute(APPEND, entry)
            notes.writes.append(Seen(key, version, id_))
        if self._chance.random() < 0.3:
            rows = await self._session.execute(registers(tuple(some)))
            if sorted(map(seen_in, rows)) != notes.writes:
                notes.torn = "the transaction did not see what it had just written"
