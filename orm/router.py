"""Where the transactions of one session run.

A `Router` keeps each on its server, and what the session has seen up to date. All of it runs inside
SQLAlchemy's greenlet.
"""

from asyncio import CancelledError
from contextlib import ExitStack
from typing import Any

from sqlalchemy import Connection, Engine, Result
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from orm.bookmark import Bookmark
from orm.cluster import Cluster, refuse_autocommit
from orm.exceptions import NotCaughtUp, ReadOnlyError
from orm.readers import Readers
from orm.routing import Reason, Route, route_to
from orm.sightings import PRIMARY_CHANGED, Sightings
from orm.tracker import Tracker
from orm.unit import Unit

__all__ = ["Router"]


class Router:
    """The servers of a cluster, as one session uses them.

    Args:
        cluster: the servers, and the rules.
        tracker: what the session has seen.
    """

    def __init__(self, cluster: Cluster, tracker: Tracker) -> None:
        self.cluster = cluster
        self.last_route: Route | None = None
        self._tracker = tracker
        self._sightings = Sightings(cluster, tracker)
        self._readers = Readers(cluster, tracker, self._sightings)
        self._unit = Unit()

    @property
    def located(self) -> Bookmark:
        """What was seen, as far as its position is known."""
        return self._tracker.bookmark

    @property
    def writes(self) -> bool:
        """Whether the transaction may write, and so is on the primary."""
        return self._unit.writes

    @property
    def opening(self) -> bool:
        """Whether a reader is being found at this moment, by another task."""
        return self._unit.opening

    @property
    def read_only(self) -> bool:
        """Whether the transaction was begun read-only."""
        return self._unit.read_only

    def may_write(self) -> None:
        """From here on the transaction may write.

        Raises:
            ReadOnlyError: it was begun read-only.
        """
        if self._unit.read_only:
            raise ReadOnlyError("this transaction was begun read-only: write in another one")
        self._unit.writes = True

    def begin_read_only(self) -> None:
        """The transaction that has just begun will not write."""
        self._unit.read_only = True

    # Writes ----------------------------------------------------------------------------------

    def writer(self) -> Engine:
        """The engine for a transaction that may write."""
        if self._unit.writer is not None:  # asked for each statement, decided once
            return self._unit.writer.engine
        self._sightings.await_primary(self._unit)
        self._decided(route_to(self.cluster.primary, 0.0, Reason.MAY_WRITE))
        self._unit.writes = True
        return self.cluster.writer.sync_engine

    def began(self, connection: Connection) -> None:
        """The transaction has a new connection.

        Raises:
            ConfigurationError: it is for writing, and in autocommit.
            NotCaughtUp: it turns out not to lead to the primary.
            WriteLost: what the session has seen is not in the database any more.
        """
        unit = self._unit
        if connection is unit.connection:
            return
        if all(connection.engine is not writer.sync_engine for writer in self.cluster.writers):
            unit.has_guest = True
            return
        refuse_autocommit(connection.get_execution_options())
        unit.writer = connection
        try:
            self._check_writer(connection)
        except BaseException as error:
            connection.invalidate(error)  # else the transaction would go on with it
            raise
        self._tracker.reads(self.cluster.primary, "", self.cluster.lineage)

    def _check_writer(self, connection: Connection) -> None:
        primary, sightings = self.cluster.primary, self._sightings
        if sightings.is_primary(primary, connection):
            if self._tracker.proven == self.cluster.lineage:
                return
            sightings.prove(self._unit)
        if not sightings.is_proven(primary, connection):
            self.cluster.watcher.nudge()
            raise NotCaughtUp(PRIMARY_CHANGED)

    def wrote(self) -> None:
        """The transaction has changed rows for certain."""
        self._unit.wrote = True

    def committed(self) -> None:
        """COMMIT has just succeeded, and the connection is still at hand."""
        writer = self._unit.writer
        if writer is None or writer.closed:  # by a transaction whose end was cut off
            return
        if self.cluster.shared:
            return  # another connection would be asked than has committed
        try:
            at = self.cluster.backend.committed(writer, wrote=self._unit.wrote)
        except DBAPIError:
            return  # the write stands, and is located when somebody has to know
        except CancelledError as error:
            self._unit.cut_off = error  # SQLAlchemy's transaction would never end
            return
        if at is not None:
            self._tracker.saw(at)
            primary = self.cluster.primary
            if primary.is_known(writer):  # else another is the primary now
                primary.advance(at)
                self.cluster.primary_at(at)
            self.cluster.committed()

    @property
    def ends_at_once(self) -> bool:
        """Whether the transaction can be ended without I/O, because it has nothing to undo."""
        unit = self._unit
        if unit.writer is not None or unit.has_guest:
            return False
        is_idle = self.cluster.backend.is_idle
        return all(not (c.closed or c.invalidated) and is_idle(c) for c in unit.held)

    def ended(self) -> None:
        """The transaction is over: give back its reading connections, forget where it ran.

        Raises:
            asyncio.CancelledError: it was cancelled after its COMMIT, which stands.
        """
        unit, self._unit = self._unit, Unit()
        if unit.connection is not None or unit.writer is not None:
            self._tracker.first_primary = False
        if len(unit.held) == 1 and not unit.streams:  # as a rule
            unit.held[0].close()
        elif unit.held or unit.streams:
            with ExitStack() as stack:  # whatever fails or is cancelled, the rest is given back too
                for connection in unit.held:
                    stack.callback(connection.close)
                for stream in unit.streams:
                    stack.callback(stream.close)
        if unit.cut_off is not None:
            raise unit.cut_off

    def abandon(self) -> None:
        """Forget a transaction whose end was cut off, so that SQLAlchemy did not tell of it."""
        self._unit.cut_off = None  # somebody has been told already
        self.ended()

    # Reads -----------------------------------------------------------------------------------

    def reader(self) -> Connection:
        """The connection that the transaction reads from; it stays the same until it ends.

        Raises:
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        unit = self._unit
        if unit.connection is not None:
            return unit.connection
        if unit.opening:  # as SQLAlchemy has it; here it would read from two servers at once
            raise InvalidRequestError(
                "This session is provisioning a new connection; "
                "concurrent operations are not permitted",
                code="isce",
            )
        unit.opening = True
        try:
            connection, route = self._readers.open(unit)
        finally:
            unit.opening = False
        self._decided(route)
        return connection

    def _decided(self, route: Route) -> None:
        self.last_route = route
        for observe in self.cluster.observers:
            observe(route)

    def answered(self, stream: Result[Any] | None) -> None:
        """A statement of the transaction has succeeded.

        Args:
            stream: its result, if rows are still to be fetched. It ends with the transaction,
                since its connection then serves others.
        """
        self._unit.answered = True
        if stream is not None:
            self._unit.streams += (stream,)

    def serve_again(self, error: DBAPIError) -> bool:
        """Whether a statement that failed may be sent again, to another server perhaps.

        Raises:
            ReadOnlyError: it has tried to write on a read-only server.
        """
        backend, unit = self.cluster.backend, self._unit
        if unit.writes or unit.server is None or unit.server.role == "primary":
            if backend.is_unavailable(error) or (unit.writes and backend.is_read_only(error)):
                self.cluster.watcher.nudge()  # another server may be the primary by now
            if unit.writer is not None and backend.is_read_only(error):
                unit.writer.invalidate(error)
                error.add_note(
                    "The server is a standby: the primary has changed. Try the transaction again."
                )
        if unit.connection is None or unit.server is None or unit.writes:
            return False
        if backend.is_read_only(error):
            raise ReadOnlyError(
                "the statement writes, and was sent to a read-only server "
                "because its unit is read-only or it is marked route='read'"
            ) from error
        if not unit.renewed and backend.renew(unit.connection, error):
            unit.renewed = True  # once is enough
            return True
        if unit.server.role == "primary" or not backend.is_unavailable(error):
            return False
        if unit.read_only and unit.answered:
            return False  # its snapshot is gone, and no other server has the same one
        if not unit.streams:  # else what is half read says itself that it is over
            unit.connection.invalidate(error)  # whoever asks next may need its place in the pool
        unit.server.fail(error)
        unit.failed += (unit.server,)
        unit.connection = unit.server = None
        return True

    # What was seen ---------------------------------------------------------------------------

    def settle(self) -> Bookmark:
        """Learn the position of all that was seen so far; a round trip, if one is needed at all."""
        return self._sightings.settle(self._unit)
