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
from orm.exceptions import NotCaughtUp, ReadOnlyError
from orm.routing.decision import Reason, Route, route_to
from orm.routing.locating import PRIMARY_CHANGED, Locator
from orm.routing.memory import SessionMemory
from orm.routing.placement import ReadPlacement
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster, refuse_autocommit

__all__ = ["Router"]


class Router:
    """The servers of a cluster, as one session uses them.

    Args:
        cluster: the servers, and the rules.
        memory: what the session has seen.
    """

    def __init__(self, cluster: Cluster, memory: SessionMemory) -> None:
        self.cluster = cluster
        self.last_route: Route | None = None
        self._memory = memory
        self._locator = Locator(cluster, memory)
        self._placement = ReadPlacement(cluster, memory, self._locator)
        self._transaction = Transaction()

    @property
    def located(self) -> Bookmark:
        """What was seen, as far as its position is known."""
        return self._memory.bookmark

    @property
    def writes(self) -> bool:
        """Whether the transaction may write, and so is on the primary."""
        return self._transaction.writes

    @property
    def opening(self) -> bool:
        """Whether a reader is being found at this moment, by another task."""
        return self._transaction.opening

    @property
    def read_only(self) -> bool:
        """Whether the transaction was begun read-only."""
        return self._transaction.read_only

    def may_write(self) -> None:
        """From here on the transaction may write.

        Raises:
            ReadOnlyError: it was begun read-only.
        """
        if self._transaction.read_only:
            raise ReadOnlyError("this transaction was begun read-only: write in another one")
        self._transaction.writes = True

    def begin_read_only(self) -> None:
        """The transaction that has just begun will not write."""
        self._transaction.read_only = True

    # Writes ----------------------------------------------------------------------------------

    def writer(self) -> Engine:
        """The engine for a transaction that may write."""
        if self._transaction.writer is not None:  # asked for each statement, decided once
            return self._transaction.writer.engine
        self._locator.await_primary(self._transaction)
        self._decided(route_to(self.cluster.primary, 0.0, Reason.MAY_WRITE))
        self._transaction.writes = True
        return self.cluster.writer.sync_engine

    def began(self, connection: Connection) -> None:
        """The transaction has a new connection.

        Raises:
            ConfigurationError: it is for writing, and in autocommit.
            NotCaughtUp: it turns out not to lead to the primary.
            WriteLost: what the session has seen is not in the database any more.
        """
        transaction = self._transaction
        if connection is transaction.connection:
            return
        if all(connection.engine is not writer.sync_engine for writer in self.cluster.writers):
            transaction.has_guest = True
            return
        refuse_autocommit(connection.get_execution_options())
        transaction.writer = connection
        try:
            self._check_writer(connection)
        except BaseException as error:
            connection.invalidate(error)  # else the transaction would go on with it
            raise
        self._memory.reads(self.cluster.primary, "", self.cluster.epoch)

    def _check_writer(self, connection: Connection) -> None:
        primary, locator = self.cluster.primary, self._locator
        if locator.is_primary(primary, connection):
            if self._memory.proven == self.cluster.epoch:
                return
            locator.prove(self._transaction)
        if not locator.is_proven(primary, connection):
            self.cluster.watcher.nudge()
            raise NotCaughtUp(PRIMARY_CHANGED)

    def wrote(self) -> None:
        """The transaction has changed rows for certain."""
        self._transaction.wrote = True

    def committed(self) -> None:
        """COMMIT has just succeeded, and the connection is still at hand."""
        writer = self._transaction.writer
        if writer is None or writer.closed:  # by a transaction whose end was cut off
            return
        if self.cluster.shared:
            return  # another connection would be asked than has committed
        try:
            at = self.cluster.backend.committed(writer, wrote=self._transaction.wrote)
        except DBAPIError:
            return  # the write stands, and is located when somebody has to know
        except CancelledError as error:
            self._transaction.cut_off = error  # SQLAlchemy's transaction would never end
            return
        if at is not None:
            self._memory.saw(at)
            primary = self.cluster.primary
            if primary.is_known(writer):  # else another is the primary now
                primary.advance(at)
                self.cluster.primary_at(at)
            self.cluster.committed()

    @property
    def ends_at_once(self) -> bool:
        """Whether the transaction can be ended without I/O, because it has nothing to undo."""
        transaction = self._transaction
        if transaction.writer is not None or transaction.has_guest:
            return False
        is_idle = self.cluster.backend.is_idle
        return all(not (c.closed or c.invalidated) and is_idle(c) for c in transaction.held)

    def ended(self) -> None:
        """The transaction is over: give back its reading connections, forget where it ran.

        Raises:
            asyncio.CancelledError: it was cancelled after its COMMIT, which stands.
        """
        transaction, self._transaction = self._transaction, Transaction()
        if transaction.connection is not None or transaction.writer is not None:
            self._memory.first_primary = False
        if len(transaction.held) == 1 and not transaction.streams:  # as a rule
            transaction.held[0].close()
        elif transaction.held or transaction.streams:
            with ExitStack() as stack:  # whatever fails or is cancelled, the rest is given back too
                for connection in transaction.held:
                    stack.callback(connection.close)
                for stream in transaction.streams:
                    stack.callback(stream.close)
        if transaction.cut_off is not None:
            raise transaction.cut_off

    def abandon(self) -> None:
        """Forget a transaction whose end was cut off, so that SQLAlchemy did not tell of it."""
        self._transaction.cut_off = None  # somebody has been told already
        self.ended()

    # Reads -----------------------------------------------------------------------------------

    def reader(self) -> Connection:
        """The connection that the transaction reads from; it stays the same until it ends.

        Raises:
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        transaction = self._transaction
        if transaction.connection is not None:
            return transaction.connection
        if transaction.opening:  # as SQLAlchemy has it; here it would read from two servers at once
            raise InvalidRequestError(
                "This session is provisioning a new connection; "
                "concurrent operations are not permitted",
                code="isce",
            )
        transaction.opening = True
        try:
            connection, route = self._placement.open(transaction)
        finally:
            transaction.opening = False
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
        self._transaction.answered = True
        if stream is not None:
            self._transaction.streams += (stream,)

    def serve_again(self, error: DBAPIError) -> bool:
        """Whether a statement that failed may be sent again, to another server perhaps.

        Raises:
            ReadOnlyError: it has tried to write on a read-only server.
        """
        backend, transaction = self.cluster.backend, self._transaction
        if transaction.writes or transaction.server is None or transaction.server.role == "primary":
            if backend.is_unavailable(error) or (
                transaction.writes and backend.is_read_only(error)
            ):
                self.cluster.watcher.nudge()  # another server may be the primary by now
            if transaction.writer is not None and backend.is_read_only(error):
                transaction.writer.invalidate(error)
                error.add_note(
                    "The server is a standby: the primary has changed. Try the transaction again."
                )
        if transaction.connection is None or transaction.server is None or transaction.writes:
            return False
        if backend.is_read_only(error):
            raise ReadOnlyError(
                "the statement writes, and was sent to a read-only server "
                "because its transaction is read-only or it is marked route='read'"
            ) from error
        if not transaction.renewed and backend.renew(transaction.connection, error):
            transaction.renewed = True  # once is enough
            return True
        if transaction.server.role == "primary" or not backend.is_unavailable(error):
            return False
        if transaction.read_only and transaction.answered:
            return False  # its snapshot is gone, and no other server has the same one
        if not transaction.streams:  # else what is half read says itself that it is over
            transaction.connection.invalidate(
                error
            )  # whoever asks next may need its place in the pool
        transaction.server.fail(error)
        transaction.failed += (transaction.server,)
        transaction.connection = transaction.server = None
        return True

    # What was seen ---------------------------------------------------------------------------

    def locate(self) -> Bookmark:
        """Learn the position of all that was seen so far; a round trip, if one is needed at all."""
        return self._locator.locate(self._transaction)
