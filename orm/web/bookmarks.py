"""What the sessions of one request start from, and what they have seen.

It travels in the request's scope: nothing here is global, nor in a context variable.
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


class RequestBookmarks:
    """The sessions of one request, or of one web socket.

    Each starts from what the request brought, and from what those before it have seen. One that
    runs beside another counts for that one with what it has committed so far.

    Args:
        database: where the sessions are.
        start: where the first one starts.
    """

    def __init__(self, database: Database, start: Constraint = None) -> None:
        self.database = database
        self._start = start
        self._seen: Bookmark | None = None
        self._open: list[BookmarkSession] = []
        self._ended: list[BookmarkSession] = []

    @classmethod
    def of(cls, scope: MutableMapping[str, Any], key: str = STATE_KEY) -> "RequestBookmarks":
        """Those of an ASGI scope.

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
        """A session of this request. Nothing is committed unless asked.

        Args:
            options: all that `AsyncSession` takes.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        async with self.database.session(await self.constraint(), **options) as session:
            self._open.append(session)
            try:
                yield session
            finally:
                self._open.remove(session)
                self._ended.append(session)

    @asynccontextmanager
    async def begin(self, **options: Any) -> AsyncIterator[BookmarkSession]:
        """One transaction that may write, on the primary: committed at the end of the block.

        Args and raises: as `session`.
        """
        async with self.session(**options) as session, session.begin():
            yield session

    async def constraint(self) -> Constraint:
        """Where the next session starts, if it is made in another way than by `session`.

        Takes a round trip if a session has ended whose latest reads have not been located yet.
        """
        await self._settle(self._ended)
        seen = reduce(_later, map(_located, self._open), self._seen)
        return self._start if seen is None else seen

    async def bookmark(self) -> str | None:
        """All that the request's sessions have seen and committed so far, as a string.

        Those still open count, too; call it when none of them is busy. Takes a round trip for
        each whose latest reads have not been located yet.

        Returns:
            What `BookmarkSession.bookmark` would; or None while no session has done anything.
        """
        seen = await self.seen()
        return None if seen is None else seen.encode(self.database.rules.keys)

    async def seen(self) -> Bookmark | None:
        """What `bookmark` hands out, as a value."""
        await self._settle([*self._ended, *self._open])
        return self._seen

    @property
    def writing(self) -> bool:
        """Whether a transaction is open that may write: what it commits is not seen yet."""
        return any(session.may_write for session in self._open)

    async def _settle(self, sessions: Iterable[BookmarkSession]) -> None:
        """Take in what sessions have seen; those that have ended are then forgotten."""
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
