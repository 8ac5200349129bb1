"""A pool that hands out its connections in the order in which they were asked for."""

import asyncio
from collections import deque
from typing import Any

from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.queue import Empty, Full, QueueCommon

from orm._greenlet import await_

__all__ = ["FairPool"]


class _FairQueue(QueueCommon[Any]):
    """Gives what is put into it to the task that has waited for the longest time.

    Args:
        maxsize: how many things it keeps; 0 for any number.
        use_lifo: whether it gives the latest of them, rather than the first.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self._kept: deque[Any] = deque()
        self._waiting: deque[asyncio.Future[Any]] = deque()

    def empty(self) -> bool:
        return not self._kept

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self._kept)

    def qsize(self) -> int:
        return len(self._kept)

    def put_nowait(self, item: Any) -> None:
        self.put(item, block=False)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Give it away, or keep it; the pool never waits here.

        Raises:
            sqlalchemy.util.queue.Full: it keeps as many as it may.
        """
        if not self._give(item):
            if self.full():
                raise Full
            self._kept.append(item)

    def _give(self, item: Any) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its task was cancelled
                waiter.set_result(item)
                return True
        return False

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take what it keeps, or what is put next after all that wait already have theirs.

        Raises:
            sqlalchemy.util.queue.Empty: there is nothing, or nothing within `timeout` seconds.
        """
        if self._kept:  # then no task waits
            return self._kept.pop() if self.use_lifo else self._kept.popleft()
        if not block:
            raise Empty
        return await_(self._next(timeout))

    async def _next(self, within: float | None) -> Any:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter
        except BaseException as error:
            if not waiter.cancelled() and not self._give(waiter.result()):
                self._kept.append(waiter.result())  # given just before the end of the wait
            if isinstance(error, TimeoutError):
                raise Empty from error
            raise


class FairPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, whose connections go to those that wait in the order in which they came.

    SQLAlchemy's own gives a connection that comes back to the task that asks next. As a rule that
    is the one that gave it back, while those that wait are still being woken: under load some tasks
    wait for seconds, and others not at all.
    """

    # A private name of SQLAlchemy's, by which its own pools for threads and for tasks differ: no
    # public method sees when a connection comes back, and who waits.
    _queue_class = _FairQueue
    # Private, too: the logger's name is made of the class's otherwise, and what users say of the
    # logger sqlalchemy.pool would not hold for this pool.
    _sqla_logger_namespace = "sqlalchemy.pool.FairPool"
