"""Clients: seeded tasks that read and write, session after session, and record it all."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm.database import Database
from orm.exceptions import BookmarkError, OrmError, WriteLost
from orm.session import BookmarkSession
from orm.testing.consistency.board import Handed, Shelf
from orm.testing.consistency.history import Kind, Operation
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.transactions import Habits, Notes, Transactions, Work, roll_back

__all__ = ["Client", "Roamer"]


class Client:
    """One task. Trials with faults subclass it: see `tokens` and `perform`.

    Others differ in where their sessions are, and what these do: see `opened` and `live`.

    Args:
        name: unique among all tasks of all processes.
        database: started.
        recorder: of its process.
        board: where bookmarks are handed on.
        habits: what it does.
        seed: of everything that it chooses at random.
    """

    failures: ClassVar[tuple[type[Exception], ...]] = (
        DBAPIError, PoolTimeout, OrmError, OSError
    )  # fmt: skip
    """What an operation may end with; it is recorded, and the client goes on."""
    starts: ClassVar[Sequence[str]] = "own own other other merge merge primary free".split()
    """What the next session starts from: one of these."""

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
                self._session = self.opened(constraint)
            except BookmarkError:
                continue  # the client has forged it
            self._sessions += 1
            self._leaves = False
            transactions = Transactions(
                self._session, self._operate, self._hand_out, self._habits, self._chance
            )
            try:
                await self.live(transactions, go_on)
                if self._leaves:
                    self._mine = None
                else:
                    await self._hand_out()
            finally:
                await self._session.close()

    # Sessions --------------------------------------------------------------------------------

    def opened(self, constraint: str | list[str] | None) -> BookmarkSession:
        """The next session.

        Raises:
            BookmarkError: the constraint is no bookmark.
        """
        return self._database.session(constraint)

    async def live(self, transactions: Transactions, go_on: Callable[[], bool]) -> None:
        """What a session does until it hands out its bookmark."""
        for _ in range(self._chance.randint(2, 12)):
            if go_on() and not self._leaves:
                await transactions.one()
                if self._chance.random() < 0.1:
                    await self._hand_out()

    def _start(self) -> str | list[str] | None:
        """Where the next session starts from."""
        chance = self._chance
        handed: list[Handed] = []
        match chance.choice(self.starts):
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
        return self.tokens(self._given) or None

    def tokens(self, given: Sequence[str]) -> list[str]:
        """What a session is started from, of the bookmarks that others handed out."""
        return [*given]

    async def _hand_out(self) -> None:
        async def work(_: str, notes: Notes) -> None:
            notes.handed = await self._session.bookmark()

        handed = await self._operate("bookmark", work)
        if handed.outcome == "ok":
            self._mine = Handed(handed.id, handed.handed)
            self._board.post(self._mine)

    async def _operate(self, kind: Kind, work: Work) -> Operation:
        """Run one transaction, and record what came of it."""
        self._operations += 1
        id_ = f"{self._name}-{self._operations}"
        session = f"{self._name}.{self._sessions}"
        notes = Notes()
        start = asyncio.get_running_loop().time()
        self._recorder.write(
            Operation(
                id=id_, session=session, kind=kind, start=start, end=start,
                after=self._after, given=self._given, outcome="unknown",
            )
        )  # fmt: skip
        error = ""
        try:
            await self.perform(kind, work(id_, notes), notes)
        except self.failures as failure:
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
            await roll_back(self._session)
            await asyncio.sleep(self._habits.rests)
        return operation

    async def perform(self, kind: Kind, work: Coroutine[Any, Any, None], notes: Notes) -> None:
        """Do the work of one operation.

        Args:
            kind: of the operation.
            work: to be awaited.
            notes: what has come of it so far; `work` writes them.
        """
        await work


class Roamer(Client):
    """Looks at everything on one server after the other, as fast as it can.

    A session of a `Database` prefers the server that it knows to be newest, so that few of them see
    another server's state a moment after. A roamer's sessions are of several databases, each of
    which has only some of the servers, and follow each other by bookmarks.

    Args:
        name: unique among all tasks of all processes.
        databases: started; with some of the servers each.
        recorder: of its process.
        board: where bookmarks are handed on.
        habits: what it does.
        seed: of everything that it chooses at random.
    """

    starts: ClassVar[Sequence[str]] = "own own own other merge free".split()

    def __init__(
        self,
        name: str,
        databases: Sequence[Database],
        recorder: Recorder,
        board: Shelf,
        habits: Habits,
        seed: str,
    ) -> None:
        super().__init__(name, databases[0], recorder, board, habits, seed)
        self._databases = databases

    def opened(self, constraint: str | list[str] | None) -> BookmarkSession:
        return self._chance.choice(self._databases).session(constraint)

    async def live(self, transactions: Transactions, go_on: Callable[[], bool]) -> None:
        await transactions.look()
