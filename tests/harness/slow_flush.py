"""A server whose thread that flushes its redo log is slow, as a disk may be."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["flushes_slowly"]

_CONT, _DETACH, _SEIZE, _INTERRUPT = 7, 17, 0x4206, 0x4207  # ptrace(2)
_WALL: Final = 0x40000000  # waitpid(2): of threads, too
_THREAD: Final = "ib_log_flush"


@contextmanager
def flushes_slowly(process: int, *, stands: float, runs: float) -> Iterator[None]:
    """Stop the thread of a MySQL server that flushes its redo log, again and again.

    The server has to have that thread: ``--innodb-log-writer-threads=ON``.

    Args:
        process: the server's.
        stands: seconds for which it is stopped.
        runs: seconds for which it runs in between.

    Raises:
        OSError: the system does not let this process stop a thread of another one.
    """
    [thread] = [
        int(task.name)
        for task in Path(f"/proc/{process}/task").iterdir()
        if (task / "comm").read_text().strip() == _THREAD
    ]
    ready, end = threading.Event(), threading.Event()
    failed: list[OSError] = []

    def trace() -> None:  # all calls for one thread have to come from one thread
        try:
            _ptrace(_SEIZE, thread)
        except OSError as error:
            failed.append(error)
            ready.set()
            return
        ready.set()
        while not end.wait(runs):
            _ptrace(_INTERRUPT, thread)
            os.waitpid(thread, _WALL)
            end.wait(stands)
            _ptrace(_CONT, thread)
        _ptrace(_INTERRUPT, thread)
        os.waitpid(thread, _WALL)
        _ptrace(_DETACH, thread)

    tracer = threading.Thread(target=trace, name="slow flush")
    tracer.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield
    finally:
        end.set()
        tracer.join()


def _ptrace(request: int, thread: int) -> None:
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    if ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")
