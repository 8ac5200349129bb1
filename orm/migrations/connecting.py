"""A connection for work that is written without `await`, with any driver."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.exceptions import MigrationError

__all__ = ["PATIENCE", "on_a_connection"]

T = TypeVar("T")

PATIENCE: Final = 600.0
"""Seconds to wait for another run, by default: long enough for a long migration."""
_CONNECTING: Final = 10
"""Seconds that it may take to connect, unless the URL says another ``connect_timeout``."""
_LONGEST: Final = 200
"""Characters of a statement that are shown."""


def on_a_connection(
    engine: Engine | AsyncEngine, work: Callable[[Connection], T], *, url: URL
) -> T:
    """Do some work on a connection of an engine, and dispose of the engine's pool.

    Args:
        engine: an asynchronous one gets an event loop of its own; an event loop that runs in this
            thread already stands still meanwhile.
        work: called with the connection.
        url: the database's, for messages.

    Raises:
        MigrationError: the connection fails, or the database refuses what the work asks of it.
    """
    if isinstance(engine, AsyncEngine):
        return _run(_on_an_async_connection(engine, work, url))
    try:
        with _explained(f"cannot connect to {_shown(url)}"):
            connection = engine.connect()
        with connection, _explained(_shown(url)):
            return work(connection)
    finally:
        engine.dispose()


async def _on_an_async_connection(
    engine: AsyncEngine, work: Callable[[Connection], T], url: URL
) -> T:
    try:
        async with AsyncExitStack() as stack:
            with _explained(f"cannot connect to {_shown(url)}"):
                connection = await _in_time(stack.enter_async_context(engine.connect()), url)
            with _explained(_shown(url)):
                return await connection.run_sync(work)
    finally:
        # Pooled connections belong to the event loop, which ends here.
        await engine.dispose()


async def _in_time(connecting: Awaitable[T], url: URL) -> T:
    own = "connect_timeout" in url.query  # the driver keeps to it, libpq's and MySQL's
    try:
        async with asyncio.timeout(None if own else _CONNECTING):
            return await connecting
    except TimeoutError as error:
        raise TimeoutError(str(error) or "it took too long to connect") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of the server and of the network, as one that names the database."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig)
        if error.statement:  # the first line is the reason, the others point into the statement
            statement = " ".join(error.statement.split())
            reason = f"{reason.splitlines()[0]}\nThe statement: {statement[:_LONGEST]}"
        else:
            reason = " ".join(reason.split())
        raise MigrationError(f"{what}: {reason}") from error
    except OSError as error:  # a driver's own, if it does not get as far as the server
        raise MigrationError(f"{what}: {str(error) or type(error).__name__}") from error


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:  # a thread has one loop
        return executor.submit(asyncio.run, coroutine).result()
