"""What is known of one server.

Knowledge is a lower bound, and belongs to one incarnation of a server: one physical server since
one start only moves forward, so "it was at X" stays a proof that it has X. Nothing known means
not caught up.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.exceptions import OrmError
from orm.servers.roles import roles_of
from orm.servers.timing import PROBE

__all__ = ["CANNOT_CONNECT", "Knowledge", "Role", "Server"]

Role = Literal["primary", "replica"]
_T = TypeVar("_T")

_log = logging.getLogger("orm.server")

CANNOT_CONNECT: Final = (DBAPIError, InvalidRequestError, OSError)
"""What connecting raises where a server is away: a driver raises the first and the third,
SQLAlchemy's pool the second, once it has dropped several connections in a row."""

_NOT_ASKED: Final = "not asked yet"


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
        shared: whether each transaction may be on another server behind the URL.
        options: for the engine that serves sessions.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        url: URL,
        backend: Backend,
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
        self._roles = roles_of(backend)
        # A pool of its own, so that a crowded server can still be asked where it is.
        alike = {k: v for k, v in options.items() if not k.startswith(("pool", "max_overflow"))}
        self._probes = backend.reader_engine(
            url, shared=shared, **(alike | {"pool_size": 1, "max_overflow": 0})
        )
        self._stalled: Bookmark | None = None
        self.nudged = asyncio.Event()
        """Set to have it probed now."""
        # Each is set by the one object that listens.
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever something new is known."""
        self.on_answer: Callable[[Server], None] = lambda _: None
        """Called whenever it has said where, and what, it is."""
        self.on_damage: Callable[[], None] = lambda: None
        """Called when its data turns out to be unreadable."""

    def __repr__(self) -> str:
        state = self.knowledge.error or self.knowledge.at
        return f"<Server {self.name} ({self.role}) {self.url!r}: {state}>"

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

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        """As `Backend.wait_until`."""
        return self._backend.wait_until(connection, need, seconds)

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
            self.on_change()
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
        if known.at is not None and known.at.history == at.history:
            at = known.at.merge(at)
        self.knowledge = Knowledge(known.incarnation, at, known.error)

    def fail(self, error: Exception) -> None:
        """It could not serve: no session reads there until it answers a probe again."""
        self.refuse(str(getattr(error, "orig", None) or error) or type(error).__name__)
        self.unreachable = self._backend.is_unreachable(error)
        if isinstance(error, DBAPIError) and self._backend.is_damaged(error):
            self.on_damage()

    def refuse(self, reason: str) -> None:
        """No session reads there until it answers a probe again, and says something else.

        Args:
            reason: for people.
        """
        if self.knowledge.error is None:
            _log.warning(
                "%s serves nobody until it answers again: %s",
                self.name,
                reason,
                extra={"server": self.name, "error": reason},
            )
        self.knowledge = Knowledge(None, None, reason)
        self.unreachable = False

    def nudge(self) -> None:
        """Have it probed now."""
        self.nudged.set()

    def distrust(self) -> None:
        """What was known is void: it is to be asked again, at once."""
        self.knowledge = Knowledge()
        self.nudge()

    def gave_up(self) -> None:
        """Somebody waited for it in vain."""
        self._stalled = self.knowledge.at

    async def probe(self) -> None:
        """Ask it where it is; failure is knowledge too."""
        await self.probe_by(self.ask)

    async def probe_by(self, ask: Callable[[Connection], _T]) -> _T | None:
        """Ask it on a connection that sessions do not use.

        Args:
            ask: `ask`, and what else there is to ask.

        Returns:
            What `ask` did; None if it failed, which is knowledge too.
        """
        try:
            async with asyncio.timeout(PROBE), self._probes.connect() as connection:
                return await connection.run_sync(ask)
        except (SQLAlchemyError, OSError, OrmError) as error:  # a TimeoutError is an OSError
            self.fail(error)
            return None
        finally:
            self.asked = monotonic()

    def ask(self, connection: Connection) -> Knowledge:
        """Learn from a connection in hand; a round trip, before any read that rests on it."""
        at = self._backend.position(connection)
        self.is_standby = self._roles.is_standby(connection)
        self.replayed = self._backend.replayed(connection)
        self.learn(self._backend.incarnation(connection), at)
        self.on_answer(self)
        return self.knowledge

    async def dispose(self) -> None:
        await self.engine.dispose()
        await self._probes.dispose()
