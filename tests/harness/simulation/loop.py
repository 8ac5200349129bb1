"""An event loop whose time is virtual: nothing is waited for, and chance is the seed's.

Callbacks run in the order in which they were registered, as asyncio promises; what differs from
run to run is only how long each answer takes.
"""

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["Hung", "VirtualLoop"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Hung(AssertionError):
    """A task waits for what will never come."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Time stands still while anything can run, and then jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._running = self._closed = False
        self.unhandled: list[dict[str, Any]] = []
        """What asyncio would have logged as errors."""
        self.jumps: list[tuple[float, float]] = []
        """When time has jumped, and by how many seconds."""

    def jump(self, seconds: float) -> None:
        """The machine was suspended, or its clock set forward: all that is due is due at once."""
        self.jumps.append((self._now, seconds))
        self._now += seconds

    def time(self) -> float:
        return self._now

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """What `asyncio.TimerHandle` tells its loop; it is skipped when it is due."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something, and all that it has others do.

        Raises:
            Hung: it waits, and nothing will ever happen again.
        """
        task: asyncio.Task[_T] = self.create_task(work)
        events._set_running_loop(self)
        self._running = True
        try:
            while not task.done():
                self._step()
        finally:
            self._running = False
            events._set_running_loop(None)
        return task.result()

    def _step(self) -> None:
        ready, timers = self._ready, self._timers
        while not ready:
            if not timers:
                raise Hung("every task waits, and no task is left that could go on")
            when, _, timer = heappop(timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                ready.append(timer)
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # as every loop runs them; asyncio has no public name for it
