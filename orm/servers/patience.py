"""Waiting for another process, and being fair to it: it may have answered, and was not heard."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from orm.servers.timing import CLOSING, LATE, MOST, SLICES

__all__ = ["GaveUp", "in_time"]

_T = TypeVar("_T")


class GaveUp(TimeoutError):
    """It has taken longer."""


async def in_time(
    work: Coroutine[Any, Any, _T],
    seconds: float,
    give_up: Callable[[], None] | None = None,
    lives: Callable[[float], bool] | None = None,
) -> _T:
    """Do something, in a task of its own, that takes no longer than some time.

    Time in which this process could not listen does not count, since it was suspended, or computed:
    else it would take all servers for dead at once. A server that answers others meanwhile is busy,
    and not dead: the time begins anew.

    Args:
        work: what to do.
        seconds: how long it may take; and, if this process hardly ever listens, or the other one is
            busy, ten times that.
        give_up: called when it has taken longer; `work` is to end by that, else it is cancelled.
        lives: whether the other process has answered since some time on the event loop's clock.

    Returns:
        What it returned.

    Raises:
        GaveUp: it has taken longer.
        Exception: what it raised in time.
    """
    clock = asyncio.get_running_loop().time
    caller = asyncio.current_task()
    task = asyncio.create_task(work, name=None if caller is None else caller.get_name())
    part, heard = seconds / SLICES, 0
    try:
        for _ in range(MOST):
            began = clock()
            await asyncio.wait([task], timeout=part)
            if task.done():
                return task.result()
            if lives is not None and lives(began):
                heard = 0
            elif clock() - began < LATE * part:
                heard += 1
            if heard == SLICES:
                break
        if give_up is not None:
            give_up()
            await asyncio.wait([task], timeout=CLOSING)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    raise GaveUp
