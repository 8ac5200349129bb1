"""What is known of each server, and how it is learnt.

Knowledge is a lower bound, and belongs to one incarnation of a server: one physical server since
one start only moves forward, so "it was at X" stays a proof that it has X. Nothing known means
not caught up.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from time import monotonic
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.exceptions import OrmError

__all__ = ["Knowledge", "Role", "Server", "Watcher"]

Role = Literal["primary", "replica"]
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_HEARTBEAT: Final = 1.0  # seconds between probes that nobody waits for
_SHORTEST: Final = 0.001  # the first pause between probes that somebody waits for …
_LONGEST: Final = 0.02  # … doubling up to this
_FIRST_RETRY: Final = 0.1  # the first pause after a failed probe …
_LAST_RETRY: Final = 5.0  # … doubling up to this
_NOT_ASKED: Final = "not asked yet"
_PATIENCE: Final = 1.0  # how long a probe may go on when the database closes
_TIMEOUT: Final = 5.0  # a probe that takes longer has failed


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of a server.

    Attributes:
        incarnation: the physical server, since its last start, that the rest is about.
        at: everything up to here is visible there; None while unknown, or while it serves nobody.
        error: why it serves nobody at present; None when it answered last time.
    """

    incarnation: str | None = None
    at: Bookmark | None = None
    error: str | None = _NOT_ASKED


class Server:
    """A server as sessions see it: a name, a read-only engine, and what is known.

    Args:
        name: for people.
        role: what it was configured as.
        url: where it is.
        backend: what its engine family can do.
        damaged: called when it turns out to be unreadable.
        shared: whether each transaction may be on another server behind the URL.
        options: for the engine that serves sessions.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        url: URL,
        backend: Backend,
        damaged: Callable[[], None] = lambda: None,
        *,
        shared: bool = False,
        **options: Any,
    ) -> None:
        engine = backend.reader_engine(url, shared=shared, **options)
        self.name = name
        self.role: Role = role
        self.url = url
        self.shared = shared
        self.engine = engine
        self.snapshots = backend.snapshot_engine(engine)
        self.knowledge = Knowledge()
        self.is_standby: bool | None = None
        """What it said it was when it was last asked; None if it cannot tell."""
        self.replayed: float | None = None
        """Seconds since the latest commit that it showed then, if it can tell."""
        self.unreachable = False
        """Whether it was away when it last failed, and did not fail by what it said."""
        self.asked: float | None = None
        """When it last answered a probe, or failed to; on the monotonic clock."""
        self._backend = backend
        # A pool of its own, so that a crowded server can still be asked where it is.
        alike = {k: v for k, v in options.items() if not k.startswith(("pool", "max_overflow"))}
        self._probes = backend.reader_engine(
            url, shared=shared, **(alike | {"pool_size": 1, "max_overflow": 0})
        )
        self._damaged = damaged
        self._stalled: Bookmark | None = None
        self._claimed: Bookmark | None = None
        self._incapable: str | None = None
        self._nudged = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None
        """Called whenever something new is known."""
        self.answered: Callable[[Server], None] = lambda _: None
        """Called whenever it has said where, and what, it is."""

    def covers(self, need: Bookmark) -> bool:
        """Whether this server is known to have everything up to `need`."""
        at = self.knowledge.at
        return at is not None and at.covers(need)

    @property
    def unit(self) -> str:
        """What `behind` counts, in the plural."""
        return self._backend.unit

    def behind(self, head: Bookmark) -> int | None:
        """How much it lacks of `head`; None while that is not known, or not comparable."""
        at = self.knowledge.at
        return None if at is None else self._backend.behind(at, head)

    @property
    def worth_waiting_for(self) -> bool:
        """Whether it may catch up soon: it answers, and moved since somebody last waited in vain.

        Without this every read of a session would wait for as long as a replica stands still.
        """
        return self.knowledge.at not in (None, self._stalled)

    def learn(self, incarnation: str, at: Bookmark | None) -> Knowledge:
        """An answer: this incarnation shows everything up to `at`. What is known of it now."""
        old = self.knowledge
        if at and old.at and old.incarnation == incarnation and old.at.covers(at):
            at = old.at  # this answer was under way when a later one came
        self.knowledge = Knowledge(incarnation, at, None)
        if old.error not in (None, _NOT_ASKED):
            _log.info("%s serves again", self.name, extra={"server": self.name})
        if old != self.knowledge:
            self.changed()
        return self.knowledge

    def is_known(self, connection: Connection) -> bool:
        """Whether what is known is of the server that a connection of a primary leads to.

        After a restart, or behind a name that several share, it may be another. An engine whose
        servers do not say what they are has only one primary.
        """
        return (
            self.is_standby is None
            or self._backend.incarnation(connection) == self.knowledge.incarnation
        )

    def advance(self, at: Bookmark) -> None:
        """A proof that the known incarnation has moved on (its own commit, say)."""
        known = self.knowledge
        if known.at is None or known.at.history != at.history:
            self.knowledge = Knowledge(known.incarnation, at, known.error)
        elif not known.at.covers(at):
            self.knowledge = Knowledge(known.incarnation, known.at.merge(at), known.error)

    def fail(self, error: Exception) -> None:
        """It could not serve: nobody is sent there until it answers a probe again."""
        reason = str(getattr(error, "orig", None) or error) or type(error).__name__
        if self.knowledge.error is None:
            _log.warning(
                "%s serves nobody until it answers again: %s",
                self.name,
                reason,
                extra={"server": self.name, "error": reason},
            )
        self.knowledge = Knowledge(None, None, reason)
        self.unreachable = self._backend.is_unreachable(error)
        if isinstance(error, DBAPIError) and self._backend.is_damaged(error):
            self._damaged()

    def nudge(self) -> None:
        """Have it probed now."""
        self._nudged.set()

    def distrust(self) -> None:
        """What was known is void: it is to be asked again, at once."""
        self.knowledge = Knowledge()
        self.nudge()

    def gave_up(self) -> None:
        """Somebody waited for it in vain."""
        self._stalled = self.knowledge.at

    async def probe(self) -> None:
        """Ask it where it is; failure is knowledge too."""
        await self._probe(self.ask)

    async def _probe(self, ask: Callable[[Connection], _T]) -> _T | None:
        try:
            async with asyncio.timeout(_TIMEOUT), self._probes.connect() as connection:
                return await connection.run_sync(ask)
        except (SQLAlchemyError, OSError, OrmError) as error:  # a TimeoutError is an OSError
            self.fail(error)
            return None
        finally:
            self.asked = monotonic()

    def ask(self, connection: Connection) -> Knowledge:
        """Learn from a connection in hand; a round trip, before any read that rests on it."""
        at = self._backend.position(connection)
        self.is_standby = self._backend.is_standby(connection)
        self.replayed = self._backend.replayed(connection)
        self.learn(self._backend.incarnation(connection), at)
        self.answered(self)
        return self.knowledge

    def _ask_and_wait(self, connection: Connection, waited_for: "Watcher") -> bool:
        """Learn where it is, and if somebody waits for more, have it wait; whether it has waited.

        What it says then is no proof: a place in the log is one on any timeline.
        """
        known = self.ask(connection)
        if known.at is None or known.incarnation == self._incapable:
            return False
        goal = waited_for.goal(self)
        if goal is None or goal[0] == self._claimed:
            return False
        need, seconds = goal
        started = monotonic()
        if not self._backend.reach(connection, need, seconds):
            self._incapable = known.incarnation
            return False
        if monotonic() - started < seconds:
            self._claimed = need  # once is enough: if it has not, its next answer says so
        return True

    async def watch(self, waited_for: "Watcher") -> None:
        """Probe: often while somebody waits, seldom otherwise, ever less while it fails."""
        pause = _SHORTEST
        while not waited_for.stopping:
            self._nudged.clear()
            waited = await self._probe(lambda c: self._ask_and_wait(c, waited_for))
            if self.knowledge.error is not None:
                pause = min(max(2 * pause, _FIRST_RETRY), _LAST_RETRY)
            elif waited:
                continue
            elif waited_for.waiting:
                pause = min(2 * pause, _LONGEST)
            else:
                pause = _HEARTBEAT
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._nudged.wait()
            if self.knowledge.error is None and (pause == _HEARTBEAT or self._nudged.is_set()):
                pause = _SHORTEST

    async def dispose(self) -> None:
        await self.engine.dispose()
        await self._probes.dispose()


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
            server.changed = self._spread
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
        return need, min(left, _LONGEST)

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(server.watch(self), name=f"orm watches {server.name}")
            for server in self._servers
        ]

    async def stop(self) -> None:
        """End all probing. One that is under way may finish, unless it takes long."""
        self.stopping = True
        self.nudge()
        if self._tasks:
            # A driver that is cut off while it connects may go on in a thread of its own.
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
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
