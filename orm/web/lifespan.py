"""Start and stop a `Database` with an application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from orm.database import Database

__all__ = ["lifespan"]


def lifespan(database: Database) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """What FastAPI, Starlette and Litestar take as their ``lifespan``.

    Args:
        database: started with the application, closed with it.
    """

    @asynccontextmanager
    async def started(_: Any) -> AsyncIterator[None]:
        async with database:
            yield

    return started
