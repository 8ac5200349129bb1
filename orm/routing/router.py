"""Where the transactions of one session run.

`RoutedSession` tells a `Router` of each step of a transaction. All of it runs inside SQLAlchemy's
greenlet.
"""

from asyncio import CancelledError, get_running_loop
from contextlib import ExitStack
from typing import Any

from sqlalchemy import Connection, Engine, Result
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from orm.bookmark import Bookmark
from orm.constraint import Constraint
from orm.exceptions import PrimaryChanged, ReadOnlyError
from orm.routing.again import serve_again
from orm.routing.decision import Reason, Route, route_to
from orm.routing.fence import Fence
from orm.routing.locating import Locator
from orm.routing.memory import SessionMemory
from orm.routing.placement import ReadPlacement
from orm.routing.remarks import remark
from orm.routing.rules import Rules
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster, refuse_autocommit

__all__ = ["Router"]


class Router:
    """Keeps each transaction of one session on its server.

    Args:
        cluster: the servers.
        rules: of all sessions.
        memory: what the session has seen.
    """

    def __init__(self, cluster: Cluster, rules: Rules, memory: SessionMemory) -> None:
        self.cluster = cluster
        self.rules = rules
        self.last_route: Route | None = None
        self.over: str | None = None
        """Why the session refuses each statement, as the error says it; None if it does not."""
        self.has_committed: bool = False
        """Whether it has committed a transaction that may have written."""
        self.autocommit: bool = False
        """Whether its caller asked for autocommit: the session then only reads."""
        self._memory = memory
        self._locator = Locator(cluster, rules, memory)
        self._fence = Fence(cluster, memory, self._locator)
        self._placement = ReadPlacement(cluster, rules, memory, self._locator, self._fence)
        self._transaction = Transaction()

    @property
    def located(self) -> Bookmark:
        """What the session has seen, as far as its position is known."""
        return self._memory.bookmark

    @property
    def writes(self) -> bool:
        """Whether the transaction may write, and so is on the primary."""
        return self._transaction.writes

    @property
    def opening(self) -> bool:
        """Whether a task is finding a server for the transaction to read from now."""
        return self._transaction.opening

    @property
    def read_only(self) -> bool:
        """Whether the transaction was begun read-only."""
        return self._transaction.read_only

    @property
    def bind(self) -> Engine | Connection:
        """Where the transaction runs, or would run if it wrote. Decides nothing, does no I/O."""
        transaction = self._transaction
        if transaction.writer is not None:
            return transaction.writer.engine
        if transaction.read_only:
            return transaction.connection or self.cluster.primary.engine.sync_engine
        return self.cluster.writer.sync_engine

    def explain(self, error: Exception) -> None:
        """Add to an error of a statement what is known of it.

        Raises:
            NoPrimary: in its place, if the primary could not be reached for a transaction that may
                write.
        """
        transaction, cluster = self._transaction, self.cluster
        if transaction.routed and transaction.writer is None:  # SQLAlchemy has tried to connect
            transaction.routed = False
            cluster.require_reached(cluster.primary, error)
        server = None if transaction.writes else transaction.server
        remark(error, cluster, server, writes=transaction.writes)

    # Writes ----------------------------------------------------------------------------------

    def may_write(self) -> None:
        """From here on the transaction may write.

        Raises:
            ReadOnlyError: it was begun read-only.
            ConfigurationError: the session is in autocommit.
        """
        if self._transaction.read_only:
            raise ReadOnlyError("this transaction was begun read-only: write in another one")
        self._refuse_autocommit()
        self._transaction.writes = True

    def see(self, constraint: Constraint) -> None:
        """From the next transaction on, see what bookmarks name, too.

        Raises:
            InvalidBookmark, ForeignBookmark: they cannot be used.
            InvalidRequestError: a transaction is open, which stays on its server.
        """
        transaction = self._transaction
        if transaction.connection is not None or transaction.writer is not None:
            raise InvalidRequestError(
                "a transaction is open, and stays on its server: end it, then see the bookmark"
            )
        self._memory.see(self.cluster, self.rules, constraint)

    def _refuse_autocommit(self) -> None:
        if self.autocommit:
            refuse_autocommit({"isolation_level": "AUTOCOMMIT"})

    def begin_read_only(self) -> None:
        """The transaction that has just begun will not write."""
        self._transaction.read_only = True

    def go_to_primary(self, reason: Reason = Reason.MAY_WRITE) -> None:
        """Move the transaction to the primary, where it stays until it ends.

        To be called before it takes a connection there. A transaction that holds the writer's
        connection must not wait for a reader's: the sessions that hold those may wait for the
        writer.

        Args:
            reason: why.

        Raises:
            ConfigurationError: the session is in autocommit.
            NotCaughtUp: the primary cannot serve it now.
            WriteLost: what the session has seen is not in the database any more.
        """
        self._refuse_autocommit()
        transaction = self._transaction
        if transaction.writer is not None:
            return
        self.cluster.primary.use(get_running_loop().time())
        fenced = self._fence.pass_to_primary(transaction)
        self._decided(route_to(self.cluster.primary, reason, fenced=fenced))
        transaction.routed = transaction.writes = True

    def began(self, connection: Connection) -> None:
        """The transaction has a new connection.

        Raises:
            ConfigurationError: it is for writing, and in autocommit.
            NotCaughtUp: it does not lead to the primary.
            WriteLost: what the session has seen is not in the database any more.
        """
        transaction, cluster = self._transaction, self.cluster
        if connection is transaction.connection:
            return
        if not any(s.is_writer_of(connection) for s in (cluster.primary, *cluster.replicas)):
            transaction.has_guest = True
            return
        refuse_autocommit(connection.get_execution_options())
        try:
            if not transaction.routed:  # SQLAlchemy took it by itself, from `bind`
                self.go_to_primary()
            transaction.writer = connection
            self._check_writer(connection)
        except BaseException as error:
            connection.invalidate(error)  # else SQLAlchemy would go on with it
            raise
        self._memory.reads(cluster.primary, "", cluster.epoch.number)

    def _check_writer(self, connection: Connection) -> None:
        cluster, locator = self.cluster, self._locator
        primary = cluster.primary
        if cluster.leads_to_primary(primary, connection):
            if locator.is_checked():
                return
            locator.check(self._transaction)
            if locator.is_checked() and cluster.leads_to_primary(primary, connection):
                return
        cluster.watcher.nudge()
        raise PrimaryChanged("the primary has changed: try the transaction again")

    def wrote(self) -> None:
        """The transaction has changed rows for certain."""
        self._transaction.wrote = True

    def committed(self) -> None:
        """COMMIT has just succeeded, and the pool has not got the connection back yet."""
        transaction, cluster = self._transaction, self.cluster
        writer = transaction.writer
        if writer is None or writer.closed:  # closed, if the end of the transaction was cut off
            return
        self.has_committed = True
        if cluster.shared:
            return  # another server connection would answer than has committed
        try:
            at = cluster.backend.committed(writer, wrote=transaction.wrote)
        except DBAPIError:
            return  # the write stands, and is located when its position is needed
        except CancelledError as error:
            transaction.cut_off = error  # SQLAlchemy's transaction would never end
            return
        if at is not None:
            self._memory.located(at)
            primary = cluster.primary
            if primary.is_known(writer):  # else another server is the primary now
                primary.advance(at)
                cluster.primary_is_at(at)
            cluster.on_commit()

    # Reads -----------------------------------------------------------------------------------

    def reader(self) -> Connection:
        """The connection that the transaction reads from; it stays the same until it ends.

        Raises:
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        transaction = self._transaction
        if transaction.connection is not None and transaction.server is not None:
            if not transaction.read_only:  # in autocommit it may see more than when it was located
                self._memory.reads_on(transaction.server)
            return transaction.connection
        if transaction.opening:  # else one transaction would read from two servers
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
        transaction.sent = get_running_loop().time()
        return connection

    def lent(self) -> None:
        """The caller has the transaction's connection now, and may use it past this router."""
        self._transaction.lent = True

    def _decided(self, route: Route) -> None:
        self.last_route = route
        for observe in self.rules.observers:
            observe(route)

    def answered(self, stream: Result[Any] | None) -> None:
        """A statement of the transaction has succeeded.

        Args:
            stream: its result, if rows are still to be fetched. It ends with the transaction,
                since its connection then serves other sessions.
        """
        transaction = self._transaction
        transaction.answered = True
        server = transaction.server if transaction.writer is None else self.cluster.primary
        if server is not None:
            server.answered_at = now = get_running_loop().time()
            if transaction.sent is not None and server is transaction.server:
                server.speed.took(now - transaction.sent, now)
                transaction.sent = None
        if stream is not None:
            transaction.streams += (stream,)

    def serve_again(self, error: DBAPIError) -> bool:
        """Whether a statement that failed may be sent again, to another server perhaps.

        Raises:
            ReadOnlyError: it has tried to write on a read-only server.
        """
        return serve_again(error, self._transaction, self._memory, self.cluster)

    # The end ---------------------------------------------------------------------------------

    @property
    def ends_at_once(self) -> bool:
        """Whether the transaction has nothing to undo, so that its end does no I/O."""
        transaction = self._transaction
        if transaction.writer is not None or transaction.has_guest:
            return False
        is_idle = self.cluster.backend.is_idle
        return all(not (c.closed or c.invalidated) and is_idle(c) for c in transaction.held)

    def ended(self) -> None:
        """The transaction is over: give back its reading connections, and forget it.

        Raises:
            asyncio.CancelledError: it was cancelled after its COMMIT, which stands.
        """
        transaction, self._transaction = self._transaction, Transaction()
        if transaction.connection is not None or transaction.writer is not None:
            self._memory.first_primary = False
            self._locator.note(transaction)
        held, streams = transaction.held, transaction.streams
        if len(held) == 1 and not streams:  # as a rule
            held[0].close()
        elif held or streams:
            with ExitStack() as stack:  # if one fails or is cancelled, the rest is given back too
                for connection in held:
                    stack.callback(connection.close)
                for stream in streams:
                    stack.callback(stream.close)
        if transaction.cut_off is not None:
            raise transaction.cut_off

    def abandon(self) -> None:
        """Forget a transaction whose end was cut off: SQLAlchemy sends no event for that."""
        self._transaction.cut_off = None  # its task has got the cancellation already
        self.ended()

    # What the session has seen ---------------------------------------------------------------

    @property
    def is_located(self) -> bool:
        """Whether `locate` does no I/O, and so may be called anywhere."""
        return self._memory.unlocated is None or self._memory.noted is not None

    def locate(self) -> Bookmark:
        """Learn the position of all that the session has seen so far.

        Takes a round trip if the latest reads have not been located yet, none otherwise.

        Raises:
            PrimaryChanged: the primary has changed several times meanwhile.
            WriteLost: another primary has taken over, and may not have what the session has read.
        """
        return self._locator.locate(self._transaction)
