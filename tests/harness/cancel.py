"""Cancelling work at a given one of its awaits."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["CutOff", "cancelled_at"]

_T = TypeVar("_T")


class CutOff(Exception):
    """The work was cancelled, as it was to be."""


class _Cancelled(Generic[_T]):
    def __init__(
        self, work: Coroutine[Any, Any, _T], number: int, counts: Callable[[], bool]
    ) -> None:
        self._work = work
        self._left = number
        self._counts = counts
        self.done = False

    def __await__(self) -> Generator[Any, Any, _T]:
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = self._work.throw(thrown) if thrown else self._work.send(None)
            except StopIteration as end:
                result: _T = end.value
                return result
            self._left -= self._counts()
            if self._left == 0 and not self.done:
                task = asyncio.current_task()
                assert task is not None
                self.done = task.cancel()
            thrown = None
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - thrown where it is awaited
                thrown = error


async def cancelled_at(
    work: Coroutine[Any, Any, _T], number: int, counts: Callable[[], bool] = lambda: True
) -> _T:
    """Do something, and have the task cancelled when it really waits for the n-th time.

    Args:
        work: what to do.
        number: counts from 1; if the work does not wait that often, nothing happens.
        counts: whether to count at the moment.

    Raises:
        CutOff: it was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled = _Cancelled(work, number, counts)
    try:
        return await cancelled
    except asyncio.CancelledError:
        if cancelled.done and task.cancelling() == 1:
            raise CutOff from None
        raise
    finally:
        if cancelled.done:
            task.uncancel()
