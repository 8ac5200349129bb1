"""A client: a seeded task that reads and writes, session after session, and records it all."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm.bookmark import Bookmark
from orm.database import Database
from orm.exceptions import BookmarkError, OrmError, WriteLost
from orm.session import BookmarkSession
from orm.testing.consistency.board import Handed, Shelf
from orm.testing.consistency.cancel import CutOff, cancelled_at
from orm.testing.consistency.history import Kind, Operation, Seen
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.tables import APPEND, RAISE, log_of, registers, seen_in

__all__ = ["Client", "Habits"]

_FAR: Final = 1_000_000
"""Commits by which a forged bookmark lies ahead."""

_AWAITS: Final = 16
"""The latest await at which work is cancelled; most have fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a client does, and how often.

    Attributes:
        keys: how many there are.
        writes: which share of its units write.
        cancels: which share of its operations is cancelled at one of its awaits.
        forges: whether it tries bookmarks that nobody handed out.
        rests: seconds after an operation that failed.
    """

    keys: int = 8
    writes: float = 0.35
    cancels: float = 0.0
    forges: bool = False
    rests: float = 0.0


@dataclass(slots=True)
class _Notes:
    """What an operation has come to, so far."""

    reads: list[Seen] = field(default_factory=list)
    writes: list[Seen] = field(default_factory=list)
    committing: bool = False
    rolled_back: bool = False
    torn: str = ""
    handed: str = ""


_Work: TypeAlias = Callable[[str, _Notes], Coroutine[Any, Any, None]]


class Client:
    """One task.

    Args:
        name: unique among all tasks of all processes.
        database: started.
        recorder: of its process.
        board: where bookmarks are handed on.
        habits: what it does.
        seed: of all that it decides.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        recorder: Recorder,
        board: Shelf,
        habits: Habits,
        seed: str,
    ) -> None:
        self._name = name
        self._database = database
        self._recorder = recorder
        self._board = board
        self._habits = habits
        self._chance = random.Random(f"{seed}/{name}")
        self._operations = 0
        self._sessions = 0
        self._mine: Handed | None = None
        self._after: tuple[str, ...] = ()
        self._given: tuple[str, ...] = ()
        self._leaves = False
        """Whether the session was told that a write is lost, and no more is asked of it."""
        self._session: BookmarkSession

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Session after session, for as long as it is to."""
        while go_on():
            constraint = self._start()
            try:
                self._session = self._database.session(constraint)
            except BookmarkError:
                continue  # it was forged
            self._sessions += 1
            self._leaves = False
            try:
                for _ in range(self._chance.randint(2, 12)):
                    if go_on() and not self._leaves:
                        await self._unit()
                if self._leaves:
                    self._mine = None
                else:
                    await self._hand_out()
            finally:
                await self._session.close()

    # Sessions --------------------------------------------------------------------------------

    def _start(self) -> str | list[str] | None:
        """Where the next session starts from."""
        chance, habits = self._chance, self._habits
        handed: list[Handed] = []
        match chance.choice("own own other other merge merge primary free".split()):
            case "own" if self._mine is not None:
                handed = [self._mine]
            case "other":
                handed = self._board.pick(chance, 1)
            case "merge":
                handed = self._board.pick(chance, 3) + ([self._mine] if self._mine else [])
                chance.shuffle(handed)
            case "primary":
                self._after = self._given = ()
                return "first-primary"
        self._after = tuple(dict.fromkeys(one.operation for one in handed))
        self._given = tuple(one.token for one in handed)
        tokens = [*self._given]
        if tokens and habits.forges and chance.random() < 0.2:
            tokens.append(self._forged(tokens[0]))
            if self._database.cluster.backend.has_fences:
                self._after = ()  # who starts anew does not wait for what only replicas show
        return tokens or None

    def _forged(self, token: str) -> str:
        if self._chance.random() < 0.5:
            return "".join(self._chance.choices(token, k=len(token)))
        if self._database.cluster.keys:
            return token[:-1] + ("A" if token[-1] != "A" else "B")
        real = Bookmark.decode(token)
        if self._chance.random() < 0.5:  # of another database
            return Bookmark(real.history[::-1], real.position).encode()
        ahead = tuple((domain, at + _FAR) for domain, at in real.position)
        return Bookmark(real.history, ahead).encode()

    async def _hand_out(self) -> None:
        async def work(_: str, notes: _Notes) -> None:
            notes.handed = await self._session.bookmark()

        handed = await self._operate("bookmark", work)
        if handed.outcome == "ok":
            self._mine = Handed(handed.id, handed.handed)
            self._board.post(self._mine)

    async def _operate(self, kind: Kind, work: _Work) -> Operation:
        """Do one atomic unit of work, and record what came of it."""
        self._operations += 1
        id_ = f"{self._name}-{self._operations}"
        session = f"{self._name}.{self._sessions}"
        notes = _Notes()
        start = asyncio.get_running_loop().time()
        self._recorder.write(
            Operation(
                id=id_, session=session, kind=kind, start=start, end=start,
                after=self._after, given=self._given, outcome="unknown",
            )
        )  # fmt: skip
        error = ""
        try:
            if self._chance.random() < self._habits.cancels:
                if kind == "write" and self._chance.random() < 0.5:  # inside COMMIT
                    number, counts = self._chance.randint(1, 3), lambda: notes.committing
                else:
                    number, counts = self._chance.randint(1, _AWAITS), lambda: True
                await cancelled_at(work(id_, notes), number, counts)
            else:
                await work(id_, notes)
        except (DBAPIError, PoolTimeout, OrmError, OSError, CutOff) as failure:
            error = type(failure).__name__
        done = error or notes.rolled_back
        route = self._session.last_route
        operation = Operation(
            id=id_,
            session=session,
            kind=kind,
            start=start,
            end=asyncio.get_running_loop().time(),
            after=self._after,
            reads=tuple(dict.fromkeys(notes.reads)),
            writes=tuple(notes.writes),
            torn=notes.torn,
            outcome=("unknown" if notes.committing else "failed") if done else "ok",
            given=self._given,
            handed=notes.handed,
            server=route.server if route else "",
            why=route.reason if route else "",
            error=error,
        )
        self._recorder.write(operation)
        self._after, self._given = (id_,), ()
        if error:
            self._leaves = error == WriteLost.__name__ and self._chance.random() < 0.5
            await self._roll_back()
            await asyncio.sleep(self._habits.rests)
        return operation

    async def _roll_back(self) -> None:
        with suppress(DBAPIError):  # the connection is gone, and its transaction with it
            await self._session.rollback()

    # Units -----------------------------------------------------------------------------------

    async def _unit(self) -> None:
        chance = self._chance
        if chance.random() < self._habits.writes:
            unit: Callable[[], Awaitable[object]] = chance.choice(
                [self._begin, self._begin, self._autobegin, self._after_read, self._savepoint]
            )
        else:
            unit = chance.choice([self._reads, self._reads, self._repeatable, self._stream])
        await unit()
        if chance.random() < 0.1:
            await self._hand_out()

    async def _reads(self) -> None:
        """A transaction that only reads: each statement for itself."""
        for _ in range(self._chance.randint(1, 3)):
            await self._operate("read", self._read)
        await (self._session.commit() if self._chance.random() < 0.5 else self._session.rollback())

    async def _repeatable(self) -> None:
        """A read-only unit: all its statements see one state."""

        async def work(id_: str, notes: _Notes) -> None:
            async with self._session.begin(read_only=True):
                for _ in range(self._chance.randint(2, 4)):
                    await self._read(id_, notes)

        await self._operate("read", work)

    async def _stream(self) -> None:
        """A stream that is read in part, and left in one way or another."""

        async def work(_id: str, notes: _Notes) -> None:
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
                await self._roll_back()
            case 1:
                await self._session.commit()
            case _:
                await self._operate("read", self._read)
                await self._roll_back()

    async def _read(self, _: str, notes: _Notes) -> None:
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

    async def _read_log(self, notes: _Notes, key: int) -> None:
        rows = (await self._session.execute(log_of(key))).all()
        versions = [row.version for row in rows]
        if versions != list(range(1, len(versions) + 1)):
            missing = sorted(set(range(1, max(versions))) - set(versions))
            notes.torn = f"the log of key {key} has {len(versions)} entries, and lacks {missing}"
        notes.reads.append(seen_in(rows[-1]) if rows else Seen(key, 0, ""))

    # Writing units ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        """A block that says that it will write, and at times thinks better of it."""

        async def work(id_: str, notes: _Notes) -> None:
            async with self._session.begin() as transaction:
                await self._write(id_, notes)
                if self._chance.random() < 0.15:
                    await transaction.rollback()
                    notes.rolled_back = True
                notes.committing = not notes.rolled_back

        await self._operate("write", work)

    async def _autobegin(self) -> None:
        """A transaction that begins by itself, and with a write."""

        async def work(id_: str, notes: _Notes) -> None:
            await self._write(id_, notes)
            notes.committing = True
            await self._session.commit()

        await self._operate("write", work)

    async def _after_read(self) -> None:
        """A transaction that begins with a read, on a replica, and goes on to write."""
        read = await self._operate("read", self._read)
        if read.outcome == "ok":
            await self._autobegin()
        await self._roll_back()

    async def _savepoint(self) -> None:
        """A savepoint that is released; then the whole is committed, or rolled back."""

        async def work(id_: str, notes: _Notes) -> None:
            async with self._session.begin() as transaction:
                async with self._session.begin_nested():
                    await self._write(id_, notes)
                if self._chance.random() < 0.4:
                    await transaction.rollback()
                    notes.rolled_back = True
                notes.committing = not notes.rolled_back

        await self._operate("write", work)

    async def _write(self, id_: str, notes: _Notes) -> None:
        keys = self._habits.keys
        # In order, so that two of these never wait for each other's rows.
        some = sorted(self._chance.sample(range(keys), k=min(keys, self._chance.choice([1, 1, 2]))))
        for key in some:
            raised = await self._session.execute(RAISE, {"of": key, "by": id_})
            version = raised.scalar_one()
            entry = {"key": key, "version": version, "writer": id_}
            await self._session.execute(APPEND, entry)
            notes.writes.append(Seen(key, version, id_))
        if self._chance.random() < 0.3:
            rows = await self._session.execute(registers(tuple(some)))
            if sorted(map(seen_in, rows)) != notes.writes:
                notes.torn = "the transaction did not see what it had just written"
