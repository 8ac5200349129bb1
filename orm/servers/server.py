"""One server as sessions see it, and how it comes to be known."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.exceptions import OrmError
from orm.servers.engines import Engines
from orm.servers.knowledge import NOT_ASKED, Knowledge
from orm.servers.patience import GaveUp
from orm.servers.probing import Probes
from orm.servers.roles import roles_of
from orm.servers.speed import Speed
from orm.servers.timing import (
    DRAIN_POLL,
    HEARTBEAT,
    SELDOM,
    UNUSED,
    WAIT_FOR_PRIMARY,
    WAIT_FOR_REPLICA,
    Limits,
)

__all__ = ["CANNOT_CONNECT", "Role", "Server", "why"]

Role = Literal["primary", "replica"]
_T = TypeVar("_T")

_log = logging.getLogger("orm.server")

CANNOT_CONNECT: Final = (DBAPIError, InvalidRequestError, OSError)
"""What connecting raises while a server is away: a driver raises the first and the third, and
SQLAlchemy's pool the second, after it has dropped several connections in a row."""


def why(error: Exception) -> str:
    """What a driver says of a failure, in one line."""
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    return said or type(error).__name__


class Server:
    """A server as sessions see it: a name, engines, and what is known of it.

    Args:
        name: for people.
        role: the role that the user gave it.
        url: where it is.
        backend: its engine family.
        shared: whether each transaction may be on another server behind the URL.
        limits: how long it may take to connect, and to answer.
        zone: where it is, such as a region.
        weight: how much it can do, compared with others.
        options: for the engines that serve sessions.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        url: URL,
        backend: Backend,
        *,
        shared: bool = False,
        limits: Limits | None = None,
        zone: str | None = None,
        weight: float = 1.0,
        **options: Any,
    ) -> None:
        self.name = name
        self.role: Role = role
        self.url = url
        self.shared = shared
        self.zone = zone
        self.weight = weight
        self.speed: Speed = Speed()
        self._backend = backend
        self._roles = roles_of(backend)
        self._is_file = backend.network is None
        self._limits = limits or Limits()
        patience = WAIT_FOR_PRIMARY if role == "primary" else WAIT_FOR_REPLICA
        self._engines = Engines(backend, url, shared, self._limits, patience, options)
        self._probes = Probes(backend, url, shared, self._limits, options)
        self.engine: AsyncEngine = self._engines.reader
        self.snapshots: Engine = self._engines.snapshots
        self.knowledge: Knowledge = Knowledge()
        self.is_standby: bool | None = None
        """Whether it called itself a standby when it was last asked; None if it cannot tell."""
        self.is_candidate: bool = False
        """Whether it could be the next primary when it was last asked (`Roles.is_candidate`)."""
        self.replayed: float | None = None
        """Seconds since the latest commit that it showed then; None if it cannot tell."""
        self.unreachable: bool = False
        """Whether it was away when it last failed."""
        self.asked: float | None = None
        """When it last answered a probe, or failed to; seconds on the monotonic clock."""
        self.is_kept: bool = False
        """Whether its keeper tells of each move of it, so that to ask it often is of no use."""
        self.asked_at: float = 0.0
        """When the question was sent that it has answered last, on the event loop's clock."""
        self.answered_at: float = 0.0
        """When it has last answered a session, on the same clock."""
        self._refused: str | None = None
        """Why it was refused when it last answered."""
        self._used = 0.0
        self._seldom = False
        self.is_far_behind: bool = False
        """Whether the log says that it is far behind the primary."""
        self._stalled: Bookmark | None = None
        """Where it was when a session had last waited for it in vain."""
        self.nudged: asyncio.Event = asyncio.Event()
        """Set to probe it now."""
        self._probed = asyncio.Event()
        """Set when the probe that is next to end has ended."""
        # Each of the three is set by the one object that listens.
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever something new is known of it."""
        self.on_answer: Callable[[Server], None] = lambda _: None
        """Called whenever it has told its position and role."""
        self.on_damage: Callable[[], None] = lambda: None
        """Called when its data is found unreadable."""

    def __repr__(self) -> str:
        state = self.knowledge.error or self.knowledge.at
        return f"<Server {self.name} ({self.role}) {self.url!r}: {state}>"

    def use(self, now: float) -> None:
        """A session begins to read or write there.

        Args:
            now: seconds on the event loop's clock.
        """
        self._used = now
        if self._seldom:  # it may be dead
            self._seldom = False
            self.nudge()

    def rest(self, pause: float) -> float:
        """Seconds until the next probe, if no session waits and it has answered.

        Args:
            pause: the seconds before this probe.
        """
        now = asyncio.get_running_loop().time()
        self._seldom = not (self._is_file or self.in_use or now - self._used < UNUSED)
        if not self._seldom:
            return HEARTBEAT
        return min(SELDOM.after(pause), self._limits.seldom)

    @property
    def in_use(self) -> int:
        """How many of its connections sessions read on; 0 if its pool does not count them."""
        return self._engines.in_use

    def load(self, now: float) -> float:
        """Seconds that one more read would take, about, beside those that it serves.

        A server of twice the weight has half of the load.

        Args:
            now: seconds on the event loop's clock.
        """
        return self.speed.seconds(now) * (self.in_use + 1) / self.weight

    @property
    def writer(self) -> AsyncEngine:
        """The engine for transactions that may write, if it is the primary."""
        return self._engines.writer

    def is_writer_of(self, connection: Connection) -> bool:
        """Whether a connection was taken from `writer`."""
        return self._engines.is_writer_of(connection)

    def covers(self, need: Bookmark) -> bool:
        """Whether this server is known to have everything up to `need`."""
        return self.knowledge.covers(need)

    @property
    def unit(self) -> str:
        """What `behind` counts, in the plural."""
        return self._backend.unit

    def behind(self, head: Bookmark) -> int | None:
        """How much it lacks of `head`; None while that is not known, or not comparable."""
        at = self.knowledge.at
        return None if at is None else self._backend.behind(at, head)

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        """Let it wait until it has `need`; see `Backend.wait_until`.

        Args:
            connection: to it, in autocommit.
            need: what a session waits for.
            seconds: it answers after that in any case.

        Returns:
            Whether it has waited; False at once if it cannot.
        """
        return self._backend.wait_until(connection, need, seconds)

    @property
    def worth_waiting_for(self) -> bool:
        """Whether it may catch up soon: it answers, and has moved since a wait for it was in vain.

        Without this rule each read would wait, for as long as a replica stands still.
        """
        return self.knowledge.at not in (None, self._stalled)

    def learn(self, incarnation: str, at: Bookmark | None) -> Knowledge:
        """Take in an answer: this incarnation shows everything up to `at`.

        Returns:
            What is known of the server now.
        """
        old = self.knowledge
        self.knowledge = old.with_answer(incarnation, at)
        self._engines.connections.restore()
        self.on_answer(self)  # which may refuse it
        if self.knowledge.error is None:
            self._refused = None
            if old.error not in (None, NOT_ASKED):
                _log.info("%s serves again", self.name, extra={"server": self.name})
        if old != self.knowledge:
            self.on_change()
        return self.knowledge

    def is_known(self, connection: Connection) -> bool:
        """Whether the knowledge is of the incarnation that a connection to a primary leads to.

        After a restart, or behind a name that several servers share, it may be another. An engine
        whose servers do not tell their role has only one primary.
        """
        return (
            self.is_standby is None
            or self._backend.incarnation(connection) == self.knowledge.incarnation
        )

    def advance(self, at: Bookmark) -> None:
        """The known incarnation has moved on, as its own commit proves, for example."""
        self.knowledge = self.knowledge.advanced(at)

    def heard(self, connection: Connection) -> None:
        """Take in its position, if its answer to `Backend.seen` had that in it as well.

        The answer counts on the timeline of its last probe only: a probe decides whether another
        timeline counts.

        Args:
            connection: on which it was just asked `Backend.seen`.
        """
        known, incarnation = self.knowledge, self._backend.incarnation(connection)
        if self.shared or known.at is None or known.incarnation != incarnation:
            return
        at = self._backend.reached(connection)
        if at is None or known.at.covers(at):
            return
        later, earlier = (self._roles.is_later(*pair) for pair in ((at, known.at), (known.at, at)))
        if at.history != known.at.history or later or earlier:
            self.nudge()
            return
        self.advance(at)
        self.on_change()

    def moved(self, to: tuple[str, Bookmark] | None) -> None:
        """The keeper of an embedded replica has moved it on.

        Args:
            to: what `EmbeddedReplica.reached` says.
        """
        self.is_kept = to is not None
        known, (incarnation, at) = self.knowledge, to or (None, None)
        same = known.at is not None and at is not None and known.at.history == at.history
        if at is None or not same or known.incarnation != incarnation:
            self.nudge()
        elif not known.covers(at):
            self.advance(at)
            self.on_change()

    def fail(self, error: Exception) -> None:
        """It could not serve: let no session read there until it answers a probe again."""
        self._stop(why(error), "%s serves no session until it answers again: %s")
        self.unreachable = self._backend.is_unreachable(error)
        if isinstance(error, DBAPIError) and self._backend.is_damaged(error):
            self.on_damage()

    def refuse(self, reason: str) -> None:
        """It answers, and is not to be read from: let no session read there.

        Each probe decides it anew; the log says it once.

        Args:
            reason: why, for people.
        """
        if reason != self._refused:
            self._stop(reason, "%s serves no session: %s")
            self._refused = reason
        else:
            self.knowledge = Knowledge(None, None, reason)
        self.unreachable = False

    def _stop(self, reason: str, text: str) -> None:
        if self.knowledge.error is None:
            _log.warning(text, self.name, reason, extra={"server": self.name, "error": reason})
        self.knowledge = Knowledge(None, None, reason)
        self.replayed = None

    def nudge(self) -> None:
        """Probe it now."""
        self.nudged.set()

    def distrust(self) -> None:
        """Forget its position, though not why it serves no session, and probe it now."""
        self.knowledge = Knowledge(error=self.knowledge.error or NOT_ASKED)
        self.nudge()

    def forget(self) -> None:
        """Be as new: nothing is known of it, and it belongs to no event loop."""
        self.knowledge = Knowledge()
        self.is_standby = self.replayed = self.asked = self._stalled = self._refused = None
        self.unreachable = self.is_candidate = self.is_far_behind = self._seldom = False
        self.is_kept = False
        self.asked_at = self.answered_at = self._used = 0.0
        self.speed = Speed()
        self._engines.connections.restore()
        self.nudged, self._probed = asyncio.Event(), asyncio.Event()

    def gave_up(self) -> None:
        """A session has waited for it in vain."""
        self._stalled = self.knowledge.at

    async def probe(self) -> None:
        """Ask for its position; a failure is knowledge, too."""
        await self.probe_by(self.ask)

    async def hear(self) -> None:
        """Have it asked by its watcher, and wait for the answer, `dead_after` at most.

        For a server that is away: to connect to it takes its time, which the watcher spends anyway.
        """
        self._probed.clear()
        self.nudge()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.dead_after):
                await self._probed.wait()

    async def probe_by(self, ask: Callable[[Connection], _T]) -> _T | None:
        """Ask it on a connection that sessions do not use.

        Args:
            ask: calls `self.ask`, and may ask more.

        Returns:
            What `ask` returned; None if it failed, which is knowledge, too.
        """
        clock = asyncio.get_running_loop().time
        began, failed = clock(), self.knowledge.error is not None
        try:
            return await self._probes.ask(ask, connects=failed, lives=self._lives)
        except GaveUp:
            why = f"it has not answered for {clock() - began:.1f} s"
            self.fail(TimeoutError(why))
            self._engines.connections.cut_off(f"{self.name} is taken for dead: {why}")
        except (SQLAlchemyError, OSError, OrmError) as error:
            self.fail(error)
        finally:
            self.asked = monotonic()
            self._probed.set()
        return None

    def _lives(self, since: float) -> bool:
        return self.answered_at > since

    def ask(self, connection: Connection) -> Knowledge:
        """Ask for its position and role: a round trip, before any read that rests on the answer."""
        clock = asyncio.get_running_loop().time
        began = clock()
        at = self._backend.position(connection)
        self.asked_at = began
        self.speed.probed(clock() - began)
        self.is_standby = self._roles.is_standby(connection)
        self.is_candidate = self._roles.is_candidate(connection)
        self.replayed = self._backend.replayed(connection)
        return self.learn(self._backend.incarnation(connection), at)

    async def drain(self, seconds: float) -> None:
        """Serve nothing new, and close all connections once they are not in use.

        Args:
            seconds: after which those that still are in use are cut off.
        """
        self.on_answer = lambda _: None
        self.knowledge = Knowledge(error="it was removed")
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self.in_use and clock() < until:  # noqa: ASYNC110 - pools tell of no return
            await asyncio.sleep(DRAIN_POLL)
        self._engines.connections.cut_off(f"{self.name} was removed")
        await self.dispose()

    async def dispose(self) -> None:
        """Close all idle connections."""
        await self._engines.dispose()
        await self._probes.dispose()
