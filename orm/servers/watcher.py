"""How what is known of the servers is kept fresh: often while somebody waits, seldom otherwise."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce

from sqlalchemy import Connection

from orm.bookmark import Bookmark
from orm.servers.server import Server
from orm.servers.timing import CLOSING, HEARTBEAT, POLL, RETRY

__all__ = ["Watcher"]


@dataclass(eq=False, slots=True)
class _Waiter:
    need: Bookmark
    servers: Sequence[Server]
    until: float


class Watcher:
    """Keeps the knowledge of all servers fresh: one task and one probe at a time for each."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._news = asyncio.Event()
        for server in servers:
            server.on_change = self._spread
        self._tasks: list[asyncio.Task[None]] = []
        self.stopping = False
        self._waiters: set[_Waiter] = set()

    @property
    def waiting(self) -> int:
        """How many sessions wait at this moment."""
        return len(self._waiters)

    def goal(self, server: Server) -> tuple[Bookmark, float] | None:
        """The least that somebody waits for and a server lacks, and for how many seconds at most.

        Never for longer than a pause, since who comes meanwhile may need less.
        """
        waiters = [w for w in self._waiters if server in w.servers and not server.covers(w.need)]
        left = max((w.until for w in waiters), default=0.0) - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        need = reduce(lambda a, b: b if a.covers(b) else a, (w.need for w in waiters))
        return need, min(left, POLL.longest)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(_Watch(server, self).run(), name=f"orm watches {server.name}")
            for server in self._servers
        ]

    async def stop(self) -> None:
        """End all probing. One that is under way may finish, unless it takes long."""
        self.stopping = True
        self.nudge()
        if self._tasks:
            # A driver that is cut off while it connects may go on in a thread of its own.
            await asyncio.wait(self._tasks, timeout=CLOSING)
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # not that it was cancelled
                raise outcome

    def nudge(self) -> None:
        """Have all of them probed now."""
        for server in self._servers:
            server.nudge()

    def _spread(self) -> None:
        """Wake all who wait, to look for themselves."""
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, need: Bookmark, servers: Sequence[Server], seconds: float) -> float:
        """Wait until one of the servers covers `need`, but at most for `seconds`.

        However many sessions wait, each server is asked by its one task only.

        Returns:
            The seconds waited.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        waiter = _Waiter(need, servers, started + seconds)
        self._waiters.add(waiter)
        try:
            if self.waiting == 1:
                for server in servers:
                    server.nudge()
            async with asyncio.timeout(seconds):
                while not any(server.covers(need) for server in servers):
                    await self._news.wait()
        except TimeoutError:
            for server in servers:
                server.gave_up()
        finally:
            self._waiters.remove(waiter)
        return clock() - started


class _Watch:
    """The watching of one server."""

    def __init__(self, server: Server, watcher: Watcher) -> None:
        self._server = server
        self._watcher = watcher
        self._claimed: Bookmark | None = None
        """What the server has last said, at the end of a wait, that it has."""
        self._incapable: str | None = None
        """The incarnation that cannot wait."""

    async def run(self) -> None:
        """Probe: often while somebody waits, seldom otherwise, ever less while it fails."""
        server, pause = self._server, 0.0
        while not self._watcher.stopping:
            server.nudged.clear()
            waited = await server.probe_by(self._ask_and_wait)
            if server.knowledge.error is not None:
                pause = RETRY.after(pause)
            elif waited:
                continue
            elif self._watcher.waiting:
                pause = POLL.after(pause)
            else:
                pause = HEARTBEAT
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await server.nudged.wait()
            if server.knowledge.error is None and (pause == HEARTBEAT or server.nudged.is_set()):
                pause = 0.0

    def _ask_and_wait(self, connection: Connection) -> bool:
        """Learn where it is, and if somebody waits for more, have it wait; whether it has waited.

        What it says then is no proof: a place in the log is one on any timeline.
        """
        known = self._server.ask(connection)
        if known.at is None or known.incarnation == self._incapable:
            return False
        goal = self._watcher.goal(self._server)
        if goal is None or goal[0] == self._claimed:
            return False
        need, seconds = goal
        clock = asyncio.get_running_loop().time
        started = clock()
        if not self._server.wait_until(connection, need, seconds):
            self._incapable = known.incarnation
            return False
        if clock() - started < seconds:
            self._claimed = need  # once is enough: if it has not, its next answer says so
        return True
