"""The replicas, which the visitor controls, and a neighbour that keeps writing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import update

from orm.database import Database
from orm.demo.models import Post
from orm.testing import replicas

__all__ = ["LONGEST_LAG", "Controls", "State"]

LONGEST_LAG: Final = 5.0
_LAGS: Final = (0.25, 1.5)  # the one is worth waiting for, the other is not
_PAUSE: Final = 0.4  # seconds between two writes of the neighbour

State = Literal["running", "paused", "killed"]


@dataclass(slots=True)
class _Replica:
    lag: float
    state: State = "running"


class Controls:
    """What a visitor can do to the servers.

    Args:
        database: started, with embedded replicas.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._replicas = {control.name: control for control in replicas(database)}
        self._known = {name: _Replica(lag) for name, lag in zip(self._replicas, _LAGS, strict=True)}
        self._lock = asyncio.Lock()
        self._busy = asyncio.Event()
        self._neighbour = asyncio.create_task(self._write_now_and_then())
        for name, known in self._known.items():
            self._replicas[name].lag = known.lag

    def __contains__(self, name: str) -> bool:
        """Whether there is a replica of that name."""
        return name in self._replicas

    def report(self) -> Mapping[str, Any]:
        """The settings of all replicas, for JSON."""
        return {
            "settings": {
                name: {"lag": known.lag, "state": known.state}
                for name, known in self._known.items()
            },
            "busy": self._busy.is_set(),
        }

    async def set(self, name: str, lag: float, state: State) -> None:
        """Change a replica; return when it is so.

        Args:
            name: of the replica.
            lag: seconds.
            state: whether it follows, stands still, or is gone.
        """
        async with self._lock:
            replica, known = self._replicas[name], self._known[name]
            replica.lag = known.lag = lag
            if state == known.state:
                return
            if known.state == "paused":
                await replica.resume()
            elif known.state == "killed":
                await replica.revive()
            if state == "paused":
                await replica.pause()
            elif state == "killed":
                await replica.kill()
            known.state = state

    def set_busy(self, busy: bool) -> None:
        """Let the neighbour write, or rest."""
        if busy:
            self._busy.set()
        else:
            self._busy.clear()

    async def stop(self) -> None:
        """Stop the neighbour: only the visitor writes from now on."""
        self._neighbour.cancel()
        await asyncio.wait([self._neighbour])

    async def _write_now_and_then(self) -> None:
        while True:
            await self._busy.wait()
            async with self._database.begin() as session:
                await session.execute(update(Post).where(Post.id == 1).values(body=Post.body))
            await asyncio.sleep(_PAUSE)
