"""A connection for work that is written without `await`, whatever the engine's driver."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["on_a_connection"]

T = TypeVar("T")


def on_a_connection(engine: Engine | AsyncEngine, work: Callable[[Connection], T]) -> T:
    """Do some work on a connection of an engine, and dispose of the engine's pool.

    Args:
        engine: with an asynchronous one, in an event loop of its own; if one is running in this
            thread already, that one stands still meanwhile.
        work: what to do.
    """
    if isinstance(engine, Engine):
        try:
            with engine.connect() as connection:
                return work(connection)
        finally:
            engine.dispose()
    return _run(_on_an_async_connection(engine, work))


async def _on_an_async_connection(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    finally:
        # Pooled connections belong to the event loop, which ends here.
        await engine.dispose()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:  # a thread has one loop
        return executor.submit(asyncio.run, coroutine).result()
