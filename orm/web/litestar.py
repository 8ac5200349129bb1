"""Litestar: one plugin for the middleware and the sessions. Needs the extra ``litestar``."""

from collections.abc import AsyncIterator
from typing import Any, cast

from litestar import Request
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin

from orm.database import Database
from orm.session import BookmarkSession
from orm.web.bookmarks import STATE_KEY, RequestBookmarks
from orm.web.middleware import BookmarkMiddleware

__all__ = ["BookmarkPlugin", "RequestSession"]

RequestSession = NamedDependency[BookmarkSession]
"""A session of the request, under its name: ``async def create_post(session: RequestSession)``."""


class BookmarkPlugin(InitPlugin):
    """Adds the `BookmarkMiddleware` and a dependency, a session of the request.

    The session is committed when the handler has returned, before the response is sent, and
    rolled back if it raised.

    Args:
        database: where the sessions are. The application's ``lifespan`` starts it.
        dependency: the name by which handlers ask for the session.
        options: all that `BookmarkMiddleware` takes.

    Raises:
        ConfigurationError: the options cannot work so; the message says what to change.
    """

    def __init__(self, database: Database, *, dependency: str = "session", **options: Any) -> None:
        self._dependency = dependency
        self._key = options.get("state_key", STATE_KEY)
        pure_asgi: Any = BookmarkMiddleware  # Litestar has a type of its own for every scope
        mistake = pure_asgi(None, database=database, **options).mistake
        if mistake is not None:
            raise mistake  # Litestar's lifespan passes no middleware
        self._middleware = DefineMiddleware(pure_asgi, database=database, **options)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.middleware.insert(0, self._middleware)
        app_config.dependencies[self._dependency] = Provide(self._session)
        return app_config

    async def _session(self, request: Request[Any, Any, Any]) -> AsyncIterator[BookmarkSession]:
        scope = cast("dict[str, Any]", request.scope)
        async with RequestBookmarks.of(scope, self._key).session() as session:
            yield session
            await session.commit()
