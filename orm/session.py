"""Sessions that read their own writes, whichever server answers.

`BookmarkSession` is an `AsyncSession`; `RoutedSession` is the `Session` behind it, where
`get_bind()` sees every statement: queries, lazy loads, refreshes, flushes and Core alike.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.sql import ClauseElement

from orm._greenlet import await_, in_greenlet
from orm.bookmark import Bookmark
from orm.cluster import Cluster
from orm.constraint import Constraint
from orm.exceptions import ConfigurationError, NotCaughtUp, OrmError, ReadOnlyError, WriteLost
from orm.routing import Reason, Route, choose, describe
from orm.statements import is_plain_read
from orm.tracker import Tracker
from orm.watcher import Server

__all__ = ["BookmarkSession", "RoutedSession"]

_T = TypeVar("_T")

_READ_ONLY: Final = "this transaction was begun read-only: write in another one"
_NO_POSITION: Final = "the primary has lost its position: start the Database anew"


class HasCluster(Protocol):
    """What a session wants of a `Database`."""

    @property
    def cluster(self) -> Cluster: ...


@dataclass(slots=True)
class _Unit:
    """Where one transaction runs, from its first statement until it ends."""

    writes: bool = False
    read_only: bool = False
    server: Server | None = None
    connection: Connection | None = None
    """What reads go to while the transaction does not write."""
    writer: Connection | None = None
    answered: bool = False
    failed: set[Server] = field(default_factory=set)
    held: list[Connection] = field(default_factory=list)


class RoutedSession(Session):
    """The synchronous session behind `BookmarkSession`. Not routed until `follow` is called."""

    _cluster: Cluster | None = None
    _tracker: Tracker
    _unit: _Unit
    last_route: Route | None = None

    def follow(self, cluster: Cluster, tracker: Tracker) -> None:
        """Route from now on over the servers of `cluster`, with `tracker` as memory."""
        self._cluster, self._tracker, self._unit = cluster, tracker, _Unit()

    # What may write although its first statement is a plain SELECT: it decides from what it reads
    # what to write, and must not decide that from a replica.

    def delete(self, instance: object) -> None:
        self._may_write()
        super().delete(instance)

    def delete_all(self, instances: Iterable[object]) -> None:
        self._may_write()
        super().delete_all(instances)

    def merge(self, instance: _T, **options: Any) -> _T:
        self._may_write()
        return super().merge(instance, **options)

    def merge_all(self, instances: Iterable[_T], **options: Any) -> Any:
        self._may_write()
        return super().merge_all(instances, **options)

    # Every statement passes one of these three, with options that get_bind() is not shown.

    def execute(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().execute, statement, args, kw)

    def scalar(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalar, statement, args, kw)

    def scalars(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalars, statement, args, kw)

    def _routed(
        self,
        call: Callable[..., Any],
        statement: Any,
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> Any:
        if self._cluster is None:
            return call(statement, *args, **kw)
        kw["bind_arguments"] = {
            "clause": statement,
            "route": (kw.get("execution_options") or {}).get("route"),
            **(kw.get("bind_arguments") or {}),
        }
        if getattr(statement, "is_dml", False):
            self._may_write()  # before the SELECT that synchronize_session="fetch" may send first
        while True:
            try:
                result = call(statement, *args, **kw)
            except DBAPIError as error:
                if not self._serve_elsewhere(error):
                    raise
            else:
                self._unit.answered = True
                return result

    def get_bind(
        self,
        mapper: Any = None,
        *,
        clause: ClauseElement | None = None,
        bind: Engine | Connection | None = None,
        route: str | None = None,
        **kw: Any,
    ) -> Engine | Connection:
        """The connection for a read, or the engine for whatever may write."""
        if self._cluster is None or bind is not None or self.binds:
            return super().get_bind(mapper, clause=clause, bind=bind, **kw)
        self._cluster.require_open()
        if not in_greenlet():  # asked from outside any statement: no I/O can be done here
            return self._cluster.writer.sync_engine
        unit = self._unit
        if not unit.read_only and (unit.writes or not self._is_read(clause, route)):
            return self._write(unit)
        return unit.connection or self._open_reader(unit)

    def _is_read(self, clause: ClauseElement | None, route: str | None) -> bool:
        transaction = self.get_transaction()
        if transaction is not None and transaction.origin is SessionTransactionOrigin.BEGIN:
            return False  # an explicit begin() says "may write"
        if self.twophase or self.in_nested_transaction():
            return False
        said: Mapping[str, Any] = getattr(clause, "get_execution_options", dict)()
        route = route or said.get("route") or self.execution_options.get("route")
        if route is None:
            return clause is not None and is_plain_read(clause)
        if route not in ("read", "primary"):
            raise ConfigurationError(f"route={route!r}: it is 'read' or 'primary'")
        return bool(route == "read")

    def _may_write(self) -> None:
        if self._cluster is None:
            return
        if self._unit.read_only:
            raise ReadOnlyError(_READ_ONLY)
        self._unit.writes = True

    # Reads -----------------------------------------------------------------------------------

    def _open_reader(self, unit: _Unit) -> Connection:
        """Pin the transaction to a server that has all that the session must see."""
        cluster, tracker = self._routing()
        waited = 0.0
        waiting = cluster.max_wait > 0
        turn = next(cluster.turns)
        while not tracker.first_primary:
            chosen = choose(
                tracker.bookmark,
                cluster.replicas,
                last=tracker.unsampled,
                failed=unit.failed,
                turn=turn,
                may_wait=waiting,
            )
            if isinstance(chosen, Server):
                if tracker.unsampled not in (None, chosen):
                    self.settle()  # moving: now it matters what was seen at the last server
                elif self._connect(unit, chosen):
                    reason = Reason.WAITED if waited else Reason.CAUGHT_UP
                    return self._pin(unit, chosen, waited, reason)
            elif not tracker.proven and self._prove():
                continue
            elif chosen == "wait":
                wait = cluster.watcher.wait(tracker.bookmark, cluster.replicas, cluster.max_wait)
                waited += await_(wait)
                waiting = False
            else:
                break
        return self._open_primary(unit, waited)

    def _connect(self, unit: _Unit, server: Server) -> bool:
        """Open a connection to a replica; False if it turns out not to have what is needed."""
        cluster, tracker = self._routing()
        engine = server.snapshots if unit.read_only else server.engine.sync_engine
        with ExitStack() as opened:
            try:
                connection = opened.enter_context(engine.connect())
                if cluster.backend.incarnation(connection) != server.knowledge.incarnation:
                    server.ask(connection)  # what is known is of another incarnation
                    connection.rollback()  # so that the read's snapshot is a later one
                connection.begin()
            except (DBAPIError, InvalidRequestError) as error:
                _give_up(unit, server, error)
                return False
            incarnation = cluster.backend.incarnation(connection)
            if tracker.unsampled is server and tracker.incarnation != incarnation:
                self._settle_at_primary()  # what we read from is gone; its successor may be older
            if not server.covers(tracker.bookmark):
                unit.failed.add(server)
                return False
            tracker.proven = True
            tracker.reads(server, incarnation)
            unit.connection = connection
            unit.held.append(connection)
            opened.pop_all()
        return True

    def _pin(self, unit: _Unit, server: Server, waited: float, reason: Reason) -> Connection:
        assert unit.connection is not None
        unit.server = server
        self.last_route = Route(server.name, server.role, server.knowledge.at, waited, reason)
        return unit.connection

    def _open_primary(self, unit: _Unit, waited: float) -> Connection:
        cluster, tracker = self._routing()
        primary = cluster.primary
        if tracker.first_primary:
            reason = Reason.STRAY_BOOKMARK if tracker.stray else Reason.FIRST_PRIMARY
        elif not cluster.replicas:
            reason = Reason.NO_REPLICAS
        elif cluster.fallback:
            reason = Reason.FALLBACK
        else:
            raise NotCaughtUp(self._who_is_where("the primary is not asked (fallback=False)"))
        engine = primary.snapshots if unit.read_only else primary.engine.sync_engine
        with ExitStack() as opened:
            try:
                connection = opened.enter_context(engine.connect())
            except DBAPIError as error:
                if reason is not Reason.FALLBACK:
                    raise
                raise NotCaughtUp(self._who_is_where(f"the primary: {error.orig}")) from error
            connection.begin()
            tracker.reads(primary, cluster.backend.incarnation(connection))
            unit.connection = connection
            unit.held.append(connection)
            opened.pop_all()
        return self._pin(unit, primary, waited, reason)

    def _who_is_where(self, primary: str) -> str:
        cluster, tracker = self._routing()
        replicas = describe(tracker.bookmark, cluster.replicas)
        return f"no server can serve this read: {replicas}; {primary}"

    def _serve_elsewhere(self, error: DBAPIError) -> bool:
        """Whether a statement that failed may be sent to another server, once for each."""
        cluster, _ = self._routing()
        unit = self._unit
        if unit.connection is None or unit.server is None or unit.writes:
            return False
        if cluster.backend.is_read_only(error):
            raise ReadOnlyError(
                "the statement writes, and was sent to a read-only server "
                "because its unit is read-only or it is marked route='read'"
            ) from error
        if unit.server.role == "primary" or not cluster.backend.is_unavailable(error):
            return False
        if unit.read_only and unit.answered:
            return False  # its snapshot is gone, and no other server has the same one
        if not unit.connection.invalidated:
            unit.connection.connection.invalidate(error, soft=True)
        _give_up(unit, unit.server, error)
        unit.connection = unit.server = None
        return True

    # Writes ----------------------------------------------------------------------------------

    def _write(self, unit: _Unit) -> Engine:
        cluster, tracker = self._routing()
        if not unit.writes or unit.writer is None:
            if not tracker.proven:
                self._prove()
            unit.writes = True
            tracker.reads(cluster.primary, "")
            self.last_route = Route(
                cluster.primary.name, "primary", cluster.primary.knowledge.at, 0.0, Reason.MAY_WRITE
            )
        return cluster.writer.sync_engine

    # Bookmarks -------------------------------------------------------------------------------

    def settle(self) -> Bookmark:
        """Learn the position of all that was seen so far; a round trip, if one is needed at all."""
        _, tracker = self._routing()
        server = tracker.unsampled
        if server is not None and not self._settle_at(server):
            self._settle_at_primary()
        return tracker.bookmark

    def _settle_at(self, server: Server) -> bool:
        try:
            at = self._sample(server)
        except DBAPIError:
            if server.role == "primary":
                raise
            return False  # it is gone; whatever a replica showed, the primary had before
        if at is None:
            return False
        cluster, tracker = self._routing()
        tracker.saw(at)
        if self._unit.writes:
            tracker.reads(cluster.primary, "")  # the transaction's COMMIT is still to come
        return True

    def _settle_at_primary(self) -> None:
        cluster, _ = self._routing()
        if not self._settle_at(cluster.primary):
            raise ConfigurationError(_NO_POSITION)

    def _sample(self, server: Server) -> Bookmark | None:
        """An upper bound of what was read on a server, or None if that incarnation is gone."""
        cluster, tracker = self._routing()
        unit = self._unit
        if unit.server is server and unit.connection is not None:
            return cluster.backend.seen(
                unit.connection
            )  # two of one pool would wait for each other
        with server.engine.sync_engine.connect() as connection:
            if server.role == "replica" and (
                cluster.backend.incarnation(connection) != tracker.incarnation
            ):
                return None
            return cluster.backend.seen(connection)

    def _prove(self) -> bool:
        """See that the bookmark is not ahead of the primary; True if it was, and is dropped."""
        cluster, tracker = self._routing()
        primary = cluster.primary
        if not primary.covers(tracker.bookmark):
            try:
                with primary.engine.sync_engine.connect() as connection:
                    primary.ask(connection)
            except DBAPIError as error:
                primary.fail(error)
                return False  # whoever needs the primary will hear of it; a replica may still do
        head = primary.knowledge.at
        if head is None:
            raise ConfigurationError(_NO_POSITION)
        tracker.proven = True
        if head.covers(tracker.bookmark):
            return False
        if cluster.keys or cluster.stray_bookmarks == "error":
            raise WriteLost(
                "the bookmark names writes that the primary does not have: it was restored to an "
                "earlier state, or the bookmark was not handed out by it"
            )
        tracker.start_over(head)
        return True

    # The life of a transaction ---------------------------------------------------------------

    def begin_read_only(self) -> None:
        """The transaction that has just begun explicitly will not write."""
        self._unit.read_only = True

    def began(self, connection: Connection) -> None:
        if self._cluster is not None and connection.engine is self._cluster.writer.sync_engine:
            self._unit.writer = connection

    def committed(self) -> None:
        if self._cluster is None or self.in_nested_transaction():
            return
        cluster, tracker = self._routing()
        at = cluster.backend.committed(self._unit.writer) if self._unit.writer else None
        if at is not None:
            tracker.saw(at)
            cluster.primary.advance(at)
            cluster.committed()

    def ended(self) -> None:
        """Give back the transaction's reading connections, and forget where it ran."""
        if self._cluster is None:
            return
        unit, self._unit = self._unit, _Unit()
        if unit.connection is not None or unit.writer is not None:
            self._tracker.first_primary = False
        for connection in unit.held:
            if self._cluster.closed:
                connection.invalidate()  # its pool is gone, and would never close it
            connection.close()

    def close(self) -> None:
        try:
            if self._cluster is not None and self._cluster.closed:
                super().invalidate()
            else:
                super().close()
        finally:
            self.ended()

    def _routing(self) -> tuple[Cluster, Tracker]:
        assert self._cluster is not None
        return self._cluster, self._tracker


def _give_up(unit: _Unit, server: Server, error: Exception) -> None:
    unit.failed.add(server)
    server.fail(error)


@event.listens_for(RoutedSession, "after_begin")
def _after_begin(session: RoutedSession, _: SessionTransaction, connection: Connection) -> None:
    session.began(connection)


@event.listens_for(RoutedSession, "before_flush")
def _before_flush(session: RoutedSession, *_: Any) -> None:
    session._may_write()


@event.listens_for(RoutedSession, "after_commit")
def _after_commit(session: RoutedSession) -> None:
    session.committed()


@event.listens_for(RoutedSession, "after_transaction_end")
def _after_transaction_end(session: RoutedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.ended()


class _ReadOnlyTransaction(AsyncSessionTransaction):
    __slots__ = ()

    async def start(self, is_ctxmanager: bool = False) -> AsyncSessionTransaction:
        await super().start(is_ctxmanager)
        sync_session = self.session.sync_session
        assert isinstance(sync_session, RoutedSession)
        sync_session.begin_read_only()
        return self


class BookmarkSession(AsyncSession):
    """An `AsyncSession` whose reads go to replicas that have caught up with it.

    Without a `database` it is an `AsyncSession`, no more and no less. With one it takes all its
    connections from there; it is usually made by `Database.session`, or by an
    ``async_sessionmaker(class_=BookmarkSession, database=db)``.

    Args:
        bind: an engine or connection, if there is no `database`.
        database: whose servers to use.
        constraint: where to start: ``"first-primary"``, ``"first-unconstrained"`` (the default),
            a bookmark that an earlier session handed out, or several, which are merged.
        options: all that `AsyncSession` takes.

    Raises:
        DatabaseClosed: the `database` is not started, or closed.
        InvalidBookmark: the constraint is none of the words, nor a bookmark.
        ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``.
    """

    sync_session_class: type[Session] = RoutedSession

    def __init__(
        self,
        bind: Any = None,
        *,
        database: HasCluster | None = None,
        constraint: Constraint = None,
        **options: Any,
    ) -> None:
        if database is None:
            if constraint is not None:
                raise ConfigurationError("a constraint needs a database to be met by")
            super().__init__(bind, **options)
            return
        if bind is not None or options.get("binds"):
            raise ConfigurationError("give a database or binds, not both")
        cluster = database.cluster
        tracker = cluster.tracker(constraint)
        super().__init__(cluster.writer, **options)
        if not isinstance(self.sync_session, RoutedSession):
            raise ConfigurationError("sync_session_class must be a subclass of RoutedSession")
        self.sync_session.follow(cluster, tracker)

    def begin(self, *, read_only: bool = False) -> AsyncSessionTransaction:
        """Begin a transaction, on the primary.

        Args:
            read_only: the transaction will not write. It is then one repeatable read, on any
                server that has caught up; a write in it raises `ReadOnlyError`.
        """
        if not read_only:
            return super().begin()
        self._routed_session()
        return _ReadOnlyTransaction(self)

    async def bookmark(self) -> str:
        """The state of the database that this session has seen, for the next session to start from.

        Covers all reads and all committed writes so far. Takes a round trip when the latest reads
        have not been located yet, none otherwise.

        Returns:
            An opaque, URL-safe string of at most 1,024 characters.

        Raises:
            OrmError: the session has no `database`.
        """
        session = self._routed_session()
        at = await self.run_sync(lambda _: session.settle())
        assert session._cluster is not None
        return at.encode(session._cluster.keys)

    @property
    def last_route(self) -> Route | None:
        """Who served the latest transaction, and why; None before the first one."""
        return self._routed_session().last_route

    def _routed_session(self) -> RoutedSession:
        session = self.sync_session
        if not isinstance(session, RoutedSession) or session._cluster is None:
            raise OrmError("this session has no Database: make it by Database.session()")
        return session
