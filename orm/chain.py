"""`Chain`: sessions that follow each other, without bookmarks in the caller's hands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import reduce
from typing import Any, ClassVar, TypeVar

from orm._given import switch
from orm._numbers import seconds
from orm.attempts import Attempt, try_again
from orm.bookmark import Bookmark
from orm.connection import BookmarkConnection
from orm.constraint import Constraint
from orm.session import BookmarkSession, SupportsSessions

__all__ = ["Chain"]

_T = TypeVar("_T")


class Chain:
    """Sessions that follow each other: of a task, a worker, a script.

    Each session starts from the bookmark that the chain was given, and from what the sessions
    before it have seen. Of a session that is still open, what it has committed so far counts. A
    session ends with its block; a statement after that is an error, since the chain would not know
    what it sees.

    Several tasks may share a chain. Each session is used by one task at a time, as always.

    Args:
        database: where the sessions are.
        start: where the first one starts.
    """

    _over: ClassVar[str] = (
        "this session has ended, and its chain does not count what it sees any more: open another "
        "one, by chain.session()"
    )

    def __init__(self, database: SupportsSessions, start: Constraint = None) -> None:
        self._database = database
        self._start = start
        self._seen: Bookmark | None = None
        self._open: list[BookmarkSession] = []
        self._ended: list[BookmarkSession] = []
        self._settling = asyncio.Lock()
        self.has_committed: bool = False
        """Whether a session that has ended has committed what it may have written."""

    def __repr__(self) -> str:
        at = self._seen if self._seen is not None else self._start
        return f"<{type(self).__name__} at {at!r}, {len(self._open)} session(s) open>"

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[BookmarkSession]:
        """A session of this chain. Call its `commit` to keep writes.

        Args:
            options: ``max_staleness``, and all that `AsyncSession` takes.

        Raises:
            ConfigurationError: the options do not go together, or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            NotCaughtUp: the reads of an earlier session cannot be located now.
            WriteLost: the database no longer has what an earlier session has read.
        """
        async with self._opened(options) as session:
            try:
                yield session
            finally:
                self._note(session)

    @asynccontextmanager
    async def begin(self, **options: Any) -> AsyncIterator[BookmarkSession]:
        """One transaction that may write, on the primary: committed at the end of the block.

        Args:
            options: ``max_staleness``, and all that `AsyncSession` takes.

        Raises:
            ConfigurationError: the options do not go together, or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            NotCaughtUp: the primary cannot serve the transaction at its end, or the reads of an
                earlier session cannot be located now.
            WriteLost: the database no longer has what the chain has seen.
        """
        async with self.session(**options) as session, session.begin():
            yield session

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[BookmarkConnection]:
        """A connection without the ORM, under the same rules. Call its `commit` to keep writes.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            NotCaughtUp: the reads of an earlier session cannot be located now.
            WriteLost: the database no longer has what an earlier session has read.
        """
        async with self.session() as session:
            yield BookmarkConnection(session)

    async def run(
        self,
        work: Callable[[BookmarkSession], Awaitable[_T]],
        *,
        read_only: bool = False,
        idempotent: bool = False,
        retry_for: float = 30.0,
        **options: Any,
    ) -> _T:
        """Do work in one transaction, and again from its beginning if that may help.

        It is tried again when it was rolled back by a conflict with another transaction (a
        serialization failure, a deadlock, SQLite's busy lock), when the server was lost or stopped
        being the primary before COMMIT was sent, and after errors that are ``retryable``. Never if
        it may have been committed. The pauses double up to a second, and are drawn at random below
        that. Each attempt has a new session; of those that failed, the chain counts nothing.

        Args:
            work: called with the session, in a transaction, once for each attempt. It neither
                commits nor rolls back, lets the database's errors pass, and does nothing that must
                not be done twice, such as sending a mail.
            read_only: the work will not write. It is then one repeatable read, on any server that
                has caught up.
            idempotent: the work may be done twice. It is then tried again if the connection was
                lost in COMMIT, too.
            retry_for: seconds after which no attempt begins any more; 0 tries once. An attempt that
                runs is not cut off: for that, put the call into ``asyncio.timeout()``.
            options: ``max_staleness``, and all that `AsyncSession` takes; ``expire_on_commit`` is
                False by default, so that objects can be returned.

        Returns:
            What the work returned, when it was committed.

        Raises:
            ConfigurationError: the options do not go together; or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            ReadOnlyError: the work writes, and is ``read_only``.
            NotCaughtUp: no server could serve it in time.
            WriteLost: the database no longer has what the chain has seen.
            sqlalchemy.exc.DBAPIError, OSError: the last attempt failed with it. A note says so if
                the transaction may have been committed.
        """
        seconds("retry_for", retry_for)
        switch("read_only", read_only)
        switch("idempotent", idempotent)
        options = {"expire_on_commit": False} | options

        async def once(attempt: Attempt) -> _T:
            async with self._opened(options) as session:
                result = await attempt.make(session, work, read_only=read_only)
                self._note(session)
                return result

        backend = self._database.cluster.backend
        return await try_again(once, backend, again=idempotent or read_only, seconds=retry_for)

    async def constraint(self) -> Constraint:
        """Where the next session starts, if it is made in another way than by `session`.

        Takes a round trip if a session has ended whose latest reads have not been located yet.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            NotCaughtUp: those reads cannot be located now.
            WriteLost: the database no longer has what they have read.
        """
        await self._settle()
        seen = reduce(_later, map(_located, self._open), self._seen)
        return self._start if seen is None else seen

    async def bookmark(self) -> str | None:
        """All that the chain's sessions have seen and committed so far, as a string.

        Sessions that are still open count, too; call it while none of them runs a statement. Takes
        a round trip for each session whose latest reads have not been located yet.

        Returns:
            An opaque, URL-safe string of at most 1,024 characters, as from
            `BookmarkSession.bookmark`; None while no session has done anything.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            InvalidBookmark: the string would have more than 1,024 characters.
            NotCaughtUp: the latest reads cannot be located now.
            WriteLost: the database no longer has what a session has read.
        """
        seen = await self.seen()
        return None if seen is None else seen.encode(self._database.rules.keys)

    async def seen(self) -> Bookmark | None:
        """All that the chain's sessions have seen and committed so far, as a value.

        Takes the same round trips as `bookmark`.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            NotCaughtUp: the latest reads cannot be located now.
            WriteLost: the database no longer has what a session has read.
        """
        await self._settle(self._open)
        return self._seen

    @property
    def writing(self) -> bool:
        """Whether a transaction is open that may write: what it commits is not seen yet."""
        return any(session.may_write for session in self._open)

    @asynccontextmanager
    async def _opened(self, options: dict[str, Any]) -> AsyncIterator[BookmarkSession]:
        """A session that is open within the block. What it has seen is to be noted."""
        constraint = await self.constraint()
        session = BookmarkSession(database=self._database, constraint=constraint, **options)
        try:
            async with session:
                self._open.append(session)
                try:
                    yield session
                finally:
                    self._open.remove(session)
        finally:
            session.end(self._over)

    def _note(self, session: BookmarkSession) -> None:
        self._ended.append(session)
        self.has_committed |= session.has_committed

    async def _settle(self, open_ones: Iterable[BookmarkSession] = ()) -> None:
        """Remember what sessions have seen, and forget those that have ended."""
        async with self._settling:  # two tasks must not locate the reads of one session
            for session in [*self._ended, *open_ones]:
                if session.last_route is not None:
                    await session.bookmark()
                self._seen = _later(self._seen, _located(session))
                if session in self._ended:
                    self._ended.remove(session)


def _located(session: BookmarkSession) -> Bookmark | None:
    """What a session is known to have seen; None if it has done nothing, or not begun."""
    return session.located if session.last_route is not None else None


def _later(one: Bookmark | None, other: Bookmark | None) -> Bookmark | None:
    if one is None or other is None:
        return one or other
    # A new history (the database was replaced meanwhile) leaves nothing to compare with.
    return one.merge(other) if one.history == other.history else other
