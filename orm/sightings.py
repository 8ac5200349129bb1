"""What a session has seen, and where that lies: asked of the servers.

All of it runs inside SQLAlchemy's greenlet.
"""

from asyncio import sleep
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from orm._greenlet import await_
from orm.bookmark import Bookmark
from orm.cluster import Cluster
from orm.exceptions import ConfigurationError, NotCaughtUp, WriteLost
from orm.tracker import Fence, Tracker
from orm.unit import Unit
from orm.watcher import Server

__all__ = ["CANNOT_CONNECT", "Sightings"]

CANNOT_CONNECT: Final = (DBAPIError, InvalidRequestError, OSError)
"""The pool raises the second once it has dropped several connections in a row (`_checkout`), a
driver the third."""

_FENCE: Final = 5.0  # seconds
_SHORTEST: Final = 0.001
_LONGEST: Final = 0.02

_NO_POSITION: Final = "the primary has lost its position: start the Database anew"


class Sightings:
    """Keeps a session's memory true.

    Args:
        cluster: the servers, and the rules.
        tracker: the memory.
    """

    def __init__(self, cluster: Cluster, tracker: Tracker) -> None:
        self._cluster = cluster
        self._tracker = tracker

    def pass_fence(self, unit: Unit) -> None:
        """Return when the primary shows all that the session has seen on replicas.

        A replica can show a commit a moment before the primary's own snapshots do, and for as long
        as a synchronous standby keeps the commit waiting.

        Raises:
            NotCaughtUp: it does not, for long.
        """
        backend, tracker = self._cluster.backend, self._tracker
        if not backend.has_fences:
            return
        if tracker.unsampled is not None and tracker.unsampled.role == "replica":
            self.settle(unit)
        fence, pause, waited = tracker.fence, _SHORTEST, 0.0
        if fence is None:
            return
        with self._cluster.primary.engine.sync_engine.connect() as connection:
            hidden = backend.hidden(connection, fence.shown)
            awaited = self._shown(unit, fence, hidden) if hidden else hidden
            while hidden & awaited:
                if waited > _FENCE:
                    raise NotCaughtUp(
                        f"the primary has not shown for {waited:.0f} s what was read on a replica: "
                        "does it wait for a synchronous standby?"
                    )
                await_(sleep(pause))
                waited, pause = waited + pause, min(2 * pause, _LONGEST)
                hidden = backend.hidden(connection, fence.shown)
        tracker.fence = None

    def _shown(self, unit: Unit, fence: Fence, hidden: frozenset[int]) -> frozenset[int]:
        """What of that the session may have seen: all of it, if its replica cannot be asked."""
        backend, server = self._cluster.backend, fence.server
        if unit.server is server and unit.connection is not None:
            return backend.shown(unit.connection, hidden)
        try:
            with server.engine.sync_engine.connect() as connection:
                if backend.incarnation(connection) != fence.incarnation:
                    return hidden
                return backend.shown(connection, hidden)
        except CANNOT_CONNECT:
            return hidden

    def settle(self, unit: Unit) -> Bookmark:
        """Learn the position of all that was seen so far; a round trip, if one is needed at all."""
        server = self._tracker.unsampled
        if server is not None and not self._settle_at(unit, server):
            self.settle_at_primary(unit)
        return self._tracker.bookmark

    def settle_at_primary(self, unit: Unit) -> None:
        if not self._settle_at(unit, self._cluster.primary):
            raise ConfigurationError(_NO_POSITION)

    def _settle_at(self, unit: Unit, server: Server) -> bool:
        try:
            at = self._sample(unit, server)
        except CANNOT_CONNECT:
            if server.role == "primary":
                raise
            return False  # it is gone; whatever a replica showed, the primary had before
        if at is None:
            return False
        self._tracker.saw(at)
        if unit.writes:
            self._tracker.reads(self._cluster.primary, "")  # its COMMIT is still to come
        return True

    def _sample(self, unit: Unit, server: Server) -> Bookmark | None:
        """An upper bound of what was read on a server, or None if that incarnation is gone."""
        backend = self._cluster.backend
        if unit.server is server and unit.connection is not None:
            return self._seen(server, unit.connection)  # a second of its pool might never come
        if server.role == "primary" and unit.writer is not None and unit.writer.in_transaction():
            return backend.seen(unit.writer)  # who holds its readers may be waiting for this writer
        with server.engine.sync_engine.connect() as connection:
            gone = backend.incarnation(connection) != self._tracker.incarnation
            return None if gone and server.role == "replica" else self._seen(server, connection)

    def _seen(self, server: Server, connection: Connection) -> Bookmark | None:
        at = self._cluster.backend.seen(connection)
        if server.role == "replica":
            shown = self._cluster.backend.fence(connection)
            incarnation = self._cluster.backend.incarnation(connection)
            self._tracker.fence = Fence(server, incarnation, shown) if shown else None
        return at

    def prove(self) -> bool:
        """See that the bookmark is not ahead of the primary; True if it was, and is dropped."""
        tracker, primary = self._tracker, self._cluster.primary
        if not primary.covers(tracker.bookmark):
            try:
                with primary.engine.sync_engine.connect() as connection:
                    primary.ask(connection)
                    at = self._cluster.backend.seen(connection)
                if at is not None:
                    primary.advance(at)
            except CANNOT_CONNECT:
                return False  # whoever needs the primary will hear of it; a replica may still do
        head = primary.knowledge.at
        if head is None:
            raise ConfigurationError(_NO_POSITION)
        same = head.history == tracker.bookmark.history
        lost = self._cluster.backend.lost(head, tracker.bookmark) if same else None
        if lost is not None:
            raise WriteLost(f"the bookmark names writes that the database does not have: {lost}")
        before, tracker.proven = tracker.proven, self._cluster.lineage
        if head.covers(tracker.bookmark):
            return False
        if before is not None or self._cluster.keys or self._cluster.stray_bookmarks == "error":
            raise WriteLost(
                "the bookmark names writes that the primary does not have: it was restored to an "
                "earlier state, or the bookmark was not handed out by it"
            )
        tracker.start_over(head)
        return True
