"""How the knowledge of the servers is kept fresh: often while a session waits, seldom otherwise."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce

from sqlalchemy import Connection

from orm.bookmark import Bookmark
from orm.servers.server import Server
from orm.servers.timing import CLOSING, POLL, RETRY, jittered

__all__ = ["Watcher"]


@dataclass(eq=False, slots=True)
class _Waiter:
    need: Bookmark
    servers: Sequence[Server]
    until: float
    served: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_served(self) -> bool:
        return any(server.covers(self.need) for server in self.servers)


class Watcher:
    """Keeps the knowledge of all servers fresh: one task and one probe at a time for each."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._tasks: dict[Server, asyncio.Task[None] | None] = {}
        self._started = False
        self.stopping: bool = False
        """Whether the tasks are to end."""
        self._waiters: dict[_Waiter, None] = {}
        """In the order in which they came."""
        for server in servers:
            self.add(server)

    def add(self, server: Server) -> None:
        """Watch a server, too."""
        server.on_change = self._spread
        self._tasks[server] = self._watch(server) if self._started else None

    async def remove(self, server: Server) -> None:
        """Watch a server no longer."""
        task = self._tasks.pop(server, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _watch(self, server: Server) -> asyncio.Task[None]:
        return asyncio.create_task(_Watch(server, self).run(), name=f"orm watches {server.name}")

    @property
    def waiting(self) -> int:
        """How many sessions wait now."""
        return len(self._waiters)

    def goal(self, server: Server) -> tuple[Bookmark, float] | None:
        """The least position that a session waits for, and that a server lacks.

        Returns:
            The position, and for how many seconds the server may wait for it: never more than a
            pause, since a session that comes meanwhile may need less. None if no session waits
            for this server.
        """
        waiters = [w for w in self._waiters if server in w.servers and not server.covers(w.need)]
        left = max((w.until for w in waiters), default=0.0) - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        need = reduce(lambda a, b: b if a.covers(b) else a, (w.need for w in waiters))
        return need, min(left, POLL.longest)

    def start(self) -> None:
        self._started = True
        self._tasks = {server: self._watch(server) for server in self._tasks}

    async def stop(self) -> None:
        """End all probing. A probe that is under way may finish within `CLOSING` seconds.

        Raises:
            Exception: what a task has failed with, which is a defect of this library.
        """
        self.stopping = True
        self.nudge()
        tasks = [task for task in self._tasks.values() if task is not None]
        self._tasks = {}
        if tasks:
            # A driver that is cut off while it connects may go on in a thread of its own.
            await asyncio.wait(tasks, timeout=CLOSING)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):  # a CancelledError is none
                raise outcome

    def nudge(self) -> None:
        """Probe all servers now."""
        for server in self._tasks:
            server.nudge()

    def _spread(self) -> None:
        """Wake the sessions that wait for what a server has by now."""
        for waiter in self._waiters:
            if waiter.is_served:
                waiter.served.set()

    async def wait(self, need: Bookmark, servers: Sequence[Server], seconds: float) -> float:
        """Wait until one of the servers covers `need`, but at most for `seconds`.

        However many sessions wait, each server is asked by its one task only.

        Args:
            need: what a server must have.
            servers: those that will do.
            seconds: the longest time.

        Returns:
            The seconds waited.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        waiter = _Waiter(need, servers, started + seconds)
        self._waiters[waiter] = None
        try:
            if self.waiting == 1:
                for server in servers:
                    if not server.is_kept:
                        server.nudge()
            if not waiter.is_served:
                async with asyncio.timeout(seconds):
                    await waiter.served.wait()
        except TimeoutError:
            for server in servers:
                server.gave_up()
        finally:
            del self._waiters[waiter]
        return clock() - started


class _Watch:
    """The task that watches one server."""

    def __init__(self, server: Server, watcher: Watcher) -> None:
        self._server = server
        self._watcher = watcher
        self._claimed: Bookmark | None = None
        """The position that the server has last said, at the end of a wait, that it has."""
        self._incapable: str | None = None
        """The incarnation of the server that cannot wait."""

    async def run(self) -> None:
        """Probe: often while a session waits, seldom otherwise, ever less often while it fails."""
        server, pause, rest = self._server, 0.0, 0.0
        while not self._watcher.stopping:
            server.nudged.clear()
            waited = await server.probe_by(self._ask_and_wait)
            if server.knowledge.error is not None:
                pause = RETRY.after(pause)
            elif waited:
                continue
            elif self._watcher.waiting and not server.is_kept:
                pause = POLL.after(pause)
            else:
                pause, rest = 0.0, server.rest(rest)
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(pause or rest)):
                    await server.nudged.wait()
            if server.knowledge.error is None and server.nudged.is_set():
                pause = rest = 0.0

    def _ask_and_wait(self, connection: Connection) -> bool:
        """Learn the server's position; if a session waits for more, let the server wait for it.

        What the server says at the end of a wait is no proof: it has a place in the log, perhaps of
        another timeline.

        Returns:
            Whether the server has waited.
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
            self._claimed = need  # if it does not have it, its next answer says so
        return True
