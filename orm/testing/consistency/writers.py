"""Other processes that read and write beside the one that is looked at, and always end.

What a server shows too early, or says too late, shows only while others commit: the process that
commits learns its own positions at once.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from orm.exceptions import OrmError

__all__ = ["PATIENCE", "READY", "Order", "Writers", "writers"]

PATIENCE: Final = 15.0
"""Seconds in which a process ends by itself once it is told to; then it is killed."""
READY: Final = b"ready\n"
"""What a process says when its clients begin."""

_STARTS_WITHIN: Final = 60.0  # seconds; a busy machine may take some


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process is to do. It comes on the standard input: URLs may have passwords.

    Attributes:
        primary: as `Database` takes it.
        replicas: as `Database` takes them.
        folder: where it records what happens, and finds the bookmarks of others.
        name: unique among all processes.
        clients: how many tasks it has.
        keys: how many there are.
        latest: entries of a log that a client reads.
        seed: of all that clients choose at random.
        seconds: after that it ends in any case.
    """

    primary: str
    replicas: int | list[str]
    folder: str
    name: str
    clients: int
    keys: int
    latest: int | None
    seed: str
    seconds: float


class Writers:
    """Processes that work.

    Attributes:
        lost: those that ended before they were told to, and their last words.
    """

    def __init__(self) -> None:
        self.lost: list[str] = []
        self._processes: list[tuple[Order, asyncio.subprocess.Process]] = []

    @property
    def started(self) -> int:
        """How many there are."""
        return len(self._processes)

    async def start(self, order: Order) -> None:
        """Start one; it may take a second or two until it is ready.

        It is in a session of its own, so that Ctrl-C reaches this process alone, which then ends
        the others. Its standard input is a pipe that ends with this process, however that ends.
        """
        with _errors(order).open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "orm.testing.consistency.writer", order.folder,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=errors, start_new_session=True,
            )  # fmt: skip
        self._processes.append((order, process))
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")

    async def ready(self) -> None:
        """Return when all of them work.

        Raises:
            OrmError: one could not start.
        """
        for order, process in self._processes:
            assert process.stdout is not None
            try:
                said = await asyncio.wait_for(process.stdout.readline(), _STARTS_WITHIN)
            except TimeoutError:
                said = b""
            if said != READY:
                raise OrmError(
                    f"the writer process {order.name} did not start: "
                    f"{_last_words(order) or f'no answer for {_STARTS_WITHIN:.0f} s'}. "
                    "To go on without such processes, give --writers 0"
                )

    async def end(self) -> None:
        """Tell all of them to end, and return when they have; kill those that do not."""
        for order, process in self._processes:
            if process.returncode is not None:
                self.lost.append(f"{order.name}, {_last_words(order) or process.returncode}")
            assert process.stdin is not None
            process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                for _, process in self._processes:
                    await process.wait()
        except TimeoutError:
            pass
        finally:  # also when this task is cancelled a second time
            for _, process in self._processes:
                if process.returncode is None:
                    process.kill()


@asynccontextmanager
async def writers(orders: Sequence[Order]) -> AsyncIterator[Writers]:
    """Processes that work until the end of the block.

    Raises:
        OrmError: one could not start.
    """
    processes = Writers()
    try:
        for order in orders:
            await processes.start(order)
        await processes.ready()
        yield processes
    finally:
        await processes.end()


def _errors(order: Order) -> Path:
    return Path(order.folder) / f"{order.name}.errors"


def _last_words(order: Order) -> str:
    said = _errors(order).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(said) if line.strip()), "")
