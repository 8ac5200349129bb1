"""FastAPI: a session for each request, as a dependency. Needs the extra ``fastapi``."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from orm.session import BookmarkSession
from orm.web.bookmarks import STATE_KEY, RequestBookmarks

__all__ = ["RequestSession", "request_session"]


def request_session(state_key: str = STATE_KEY, **options: Any) -> Any:
    """The dependency behind `RequestSession`, for a second database or other options.

    It commits when the path operation has returned, before the response is sent, so that the
    bookmark in the header is of that very write; and rolls back if it raised.

    Args:
        state_key: as the `BookmarkMiddleware` of the database has it.
        options: all that `AsyncSession` takes.
    """

    async def session(connection: HTTPConnection) -> AsyncIterator[BookmarkSession]:
        bookmarks = RequestBookmarks.of(connection.scope, state_key)
        async with bookmarks.session(**options) as session:
            yield session
            await session.commit()

    # By default what comes after the yield runs when the response is already on its way.
    return Depends(session, scope="function")


RequestSession = Annotated[BookmarkSession, request_session()]
"""A session of the request: ``async def create_post(session: RequestSession)``."""
