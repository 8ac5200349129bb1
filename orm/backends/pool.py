"""A pool that hands out its connections in the order in which they were asked for."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

from orm._greenlet import await_, greenlet_spawn

__all__ = ["FairPool"]


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, with a line before it while all connections are in use.

    SQLAlchemy's own gives a connection that comes back to the task that asks next. As a rule that
    is the one that gave it back, while those that wait are still being woken: under load some tasks
    wait for seconds, and others not at all.

    Args:
        creator: makes a connection.
        pool_size: how many connections stay open; 0 for any number.
        max_overflow: how many more may be open at a time; -1 for any number.
        options: all else that SQLAlchemy's takes.
    """

    def __init__(
        self,
        creator: Callable[..., Any],
        pool_size: int = 5,
        max_overflow: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(creator, pool_size, max_overflow, **options)
        bounded = pool_size > 0 and max_overflow >= 0
        self._most = pool_size + max_overflow if bounded else math.inf
        self._line = asyncio.Lock()  # which lets tasks in by the order in which they came

    def connect(self) -> PoolProxiedConnection:
        """Take a connection, after all that have asked for one before.

        Raises:
            sqlalchemy.exc.TimeoutError: none came back within the time-out of the pool.
        """
        if self.checkedout() < self._most and not self._line.locked():
            return super().connect()
        return await_(self._connect_in_turn(super().connect))

    async def _connect_in_turn(
        self, connect: Callable[[], PoolProxiedConnection]
    ) -> PoolProxiedConnection:
        try:
            async with asyncio.timeout(self.timeout()) as scope, self._line:
                return await greenlet_spawn(connect)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise PoolTimeout(
                f"QueuePool limit of size {self.size()} overflow {self.overflow()} reached, "
                f"connection timed out, timeout {self.timeout():0.2f}",
                code="3o7r",
            ) from error
