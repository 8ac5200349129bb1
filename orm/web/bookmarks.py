"""The bookmarks of one request: what its sessions start from, and what they have seen.

All of it is in the request's scope: nothing is global, or in a context variable.
"""

from collections.abc import AsyncIterator, Iterable, MutableMapping
from contextlib import asynccontextmanager
from functools import reduce
from typing import Any, Final

from orm.bookmark import Bookmark
from orm.constraint import Constraint
from orm.database import Database
from orm.exceptions import ConfigurationError
from orm.session import BookmarkSession

__all__ = ["STATE_KEY", "RequestBookmarks"]

STATE_KEY: Final = "bookmarks"
"""Where a request's scope has its `RequestBookmarks`, in ``scope["state"]``."""
_ENDED: Final = (
    "this session has ended, before the response was sent: what runs later, such as a background "
    "task, opens one of its own: async with db.session(bookmark), where bookmark = await "
    "session.bookmark() was asked for in the handler"
)


class RequestBookmarks:
    """The sessions of one request, or of one web socket.

    Each session starts from the bookmarks that the request brought, and from what the sessions
    before it have seen. Of a session that is still open, what it has committed so far counts.

    Objects keep their values when a session commits (``expire_on_commit=False``, unless it is
    given): they usually are what the response is made of, when no statement can be sent any more. A
    session ends with its block; a statement after that is an error, since nothing would end its
    transaction.

    Args:
        database: where the sessions are.
        start: where the first one starts.
        headers: the names of the headers that bring them, in lower case.
    """

    def __init__(
        self, database: Database, start: Constraint = None, headers: Iterable[bytes] = ()
    ) -> None:
        self.database = database
        self.headers: frozenset[bytes] = frozenset(headers)
        self._start = start
        self._seen: Bookmark | None = None
        self._open: list[BookmarkSession] = []
        self._ended: list[BookmarkSession] = []
        self.has_committed: bool = False
        """Whether a session that has ended has committed what it may have written."""

    @classmethod
    def of(cls, scope: MutableMapping[str, Any], key: str = STATE_KEY) -> "RequestBookmarks":
        """The `RequestBookmarks` of an ASGI scope.

        Raises:
            ConfigurationError: no `BookmarkMiddleware` has seen the request.
        """
        found = scope.get("state", {}).get(key)
        if not isinstance(found, cls):
            raise ConfigurationError(
                "no bookmarks in this request: add orm.web.BookmarkMiddleware to the application"
            )
        return found

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[BookmarkSession]:
        """A session of this request. Call its `commit` to keep writes.

        Args:
            options: all that `AsyncSession` takes; ``expire_on_commit`` is False by default.

        Raises:
            ConfigurationError: the options do not go together, or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            NotCaughtUp: the reads of an earlier session cannot be located now.
            WriteLost: the database does not have any more what an earlier session has read.
        """
        options = {"expire_on_commit": False} | options
        session = self.database.session(await self.constraint(), **options)
        try:
            async with session:
                self._open.append(session)
                try:
                    yield session
                finally:
                    self._open.remove(session)
                    self._ended.append(session)
                    self.has_committed |= session.has_committed
        finally:
            session.end(_ENDED)

    @asynccontextmanager
    async def begin(self, **options: Any) -> AsyncIterator[BookmarkSession]:
        """One transaction that may write, on the primary: committed at the end of the block.

        Args:
            options: all that `AsyncSession` takes.

        Raises:
            ConfigurationError: the options do not go together, or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark, ForeignBookmark: sessions cannot start from `start`.
            NotCaughtUp: the primary cannot serve the transaction at its end, or the reads of an
                earlier session cannot be located now.
            WriteLost: the database does not have any more what the request has seen.
        """
        async with self.session(**options) as session, session.begin():
            yield session

    async def constraint(self) -> Constraint:
        """Where the next session starts, if it is made in another way than by `session`.

        Takes a round trip if a session has ended whose latest reads have not been located yet.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            NotCaughtUp: those reads cannot be located now.
            WriteLost: the database does not have any more what they have read.
        """
        await self._settle(self._ended)
        seen = reduce(_later, map(_located, self._open), self._seen)
        return self._start if seen is None else seen

    async def bookmark(self) -> str | None:
        """All that the request's sessions have seen and committed so far, as a string.

        Sessions that are still open count, too; call it while none of them runs a statement. Takes
        a round trip for each session whose latest reads have not been located yet.

        Returns:
            An opaque, URL-safe string of at most 1,024 characters, as from
            `BookmarkSession.bookmark`; None while no session has done anything.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            InvalidBookmark: the string would have more than 1,024 characters.
            NotCaughtUp: the latest reads cannot be located now.
            WriteLost: the database does not have any more what a session has read.
        """
        seen = await self.seen()
        return None if seen is None else seen.encode(self.database.rules.keys)

    async def seen(self) -> Bookmark | None:
        """All that the request's sessions have seen and committed so far, as a value.

        Takes the same round trips as `bookmark`.

        Raises:
            ConfigurationError: the primary has lost the table that it keeps its position in.
            NotCaughtUp: the latest reads cannot be located now.
            WriteLost: the database does not have any more what a session has read.
        """
        await self._settle([*self._ended, *self._open])
        return self._seen

    @property
    def writing(self) -> bool:
        """Whether a transaction is open that may write: what it commits is not seen yet."""
        return any(session.may_write for session in self._open)

    async def _settle(self, sessions: Iterable[BookmarkSession]) -> None:
        """Remember what sessions have seen, and forget those that have ended."""
        for session in list(sessions):
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
