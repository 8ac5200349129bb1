"""The bookmarks of one request: what its sessions start from, and what they have seen.

All of it is in the request's scope: nothing is global, or in a context variable.
"""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from orm.chain import Chain
from orm.exceptions import ConfigurationError
from orm.session import BookmarkSession

__all__ = ["STATE_KEY", "RequestBookmarks"]

STATE_KEY: Final = "bookmarks"
"""Where a request's scope has its `RequestBookmarks`, in ``scope["state"]``."""


class RequestBookmarks(Chain):
    """The sessions of one request, or of one web socket: a `Chain`.

    It starts from the bookmarks that the request brought. Objects keep their values when a session
    commits (``expire_on_commit=False``, unless it is given): they usually are what the response is
    made of, when no statement can be sent any more.

    Args:
        database: where the sessions are.
        start: where the first one starts.
    """

    _over: ClassVar[str] = (
        "this session has ended, before the response was sent: what runs later, such as a "
        "background task, opens one of its own: async with db.session(bookmark), where bookmark = "
        "await session.bookmark() was asked for in the handler"
    )

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
            WriteLost: the database no longer has what an earlier session has read.
        """
        options = {"expire_on_commit": False} | options
        async with super().session(**options) as session:
            yield session
