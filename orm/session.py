"""Sessions that read their own writes, whichever server answers.

`BookmarkSession` is an `AsyncSession`; `RoutedSession` is the `Session` behind it, where
`get_bind()` sees every statement: queries, lazy loads, refreshes, flushes and Core alike.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.sql import ClauseElement

from orm._greenlet import in_greenlet
from orm.bookmark import Bookmark
from orm.constraint import Constraint
from orm.exceptions import ConfigurationError, OrmError
from orm.routing import Reason, Route
from orm.routing.memory import SessionMemory
from orm.routing.router import Router
from orm.routing.rules import Rules
from orm.routing.statements import is_plain_read
from orm.servers.cluster import Cluster

__all__ = ["BookmarkSession", "RoutedSession"]

_T = TypeVar("_T")

_DATABASE_OR_BINDS: Final = (
    "a session has a Database or binds, not both: for another database make another session"
)
_HELD: Final = (
    "Other sessions hold the connections. What may write (all text, too) keeps the primary's until "
    "its transaction ends: end it before another session writes in the same task, and mark plain "
    "reads with execution_options(route='read')."
)
_CROWDED: Final = (
    "Other sessions hold the connections for reads, each until its transaction ends. If that many "
    "are needed at once, give engine_options={'pool_size': …} a larger number."
)


class SupportsSessions(Protocol):
    """The part of a `Database` that a session uses."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def rules(self) -> Rules: ...


class RoutedSession(Session):
    """The synchronous session behind `BookmarkSession`. Without a router it is a `Session`."""

    router: Router | None = None
    """Decides where its transactions run; set once, before the first of them."""
    _sends: bool = False
    """Whether a statement is about to be sent, so that `get_bind` decides where."""

    # These read first, to learn what to write, and must not learn that from a replica.

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

    def _may_write(self) -> None:
        if self.router is not None:
            self.router.may_write()

    # Every statement passes one of these; SQLAlchemy does not hand its options to get_bind().

    def execute(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().execute, statement, args, kw)

    def scalar(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalar, statement, args, kw)

    def scalars(self, statement: Any, *args: Any, **kw: Any) -> Any:
        return self._routed(super().scalars, statement, args, kw)

    def connection(self, *args: Any, **kw: Any) -> Connection:
        with self._sending():
            return super().connection(*args, **kw)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        # As `_sending`, without its cost: each statement flushes, and has nothing to flush mostly.
        before, self._sends = self._sends, True
        try:
            super().flush(objects)
        finally:
            self._sends = before

    def bulk_save_objects(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_save_objects(*args, **kw)

    def bulk_insert_mappings(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_insert_mappings(*args, **kw)

    def bulk_update_mappings(self, *args: Any, **kw: Any) -> None:
        self._may_write()
        with self._sending():
            super().bulk_update_mappings(*args, **kw)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        before, self._sends = self._sends, True
        try:
            yield
        finally:
            self._sends = before

    def _routed(
        self,
        call: Callable[..., Any],
        statement: Any,
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> Any:
        router = self.router
        if router is None:
            return call(statement, *args, **kw)
        options: Mapping[str, Any] = kw.get("execution_options") or {}
        arguments = {"clause": statement, **(kw.get("bind_arguments") or {})}
        if "route" in options:
            arguments["route"] = options["route"]
        kw["bind_arguments"] = arguments
        if getattr(statement, "is_dml", False):
            router.may_write()  # before the SELECT that synchronize_session="fetch" may send first
        before, self._sends = self._sends, True
        try:
            while True:
                try:
                    result = call(statement, *args, **kw)
                except DBAPIError as error:
                    if not router.serve_again(error):
                        raise
                else:
                    router.answered(result if options.get("stream_results") else None)
                    if (
                        isinstance(result, CursorResult)
                        and statement.is_dml
                        and result.rowcount > 0
                    ):
                        router.wrote()
                    return result
        except BaseException as error:
            if isinstance(error, PoolTimeout):
                error.add_note(_HELD if router.writes else _CROWDED)
            if not self.in_transaction() and not router.opening:
                router.ended()  # else the end of the transaction does it
            raise
        finally:
            self._sends = before

    def get_bind(
        self,
        mapper: Any = None,
        *,
        clause: ClauseElement | None = None,
        bind: Engine | Connection | None = None,
        route: str | None = None,
        **kw: Any,
    ) -> Engine | Connection:
        """Decide where the statement that is about to be sent runs.

        A caller that sends no statement learns where one would run: nothing is decided then, and
        no I/O done.

        Returns:
            The connection for a read, or the engine for a transaction that may write.

        Raises:
            ConfigurationError: the route is neither ``"read"`` nor ``"primary"``.
            DatabaseClosed: the database is not started, or closed.
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        router = self.router
        if router is None or bind is not None:
            return super().get_bind(mapper, clause=clause, bind=bind, **kw)
        router.cluster.require_open()
        if not self._sends or not in_greenlet():
            return router.bind
        reason = None if router.read_only else self._reason_for_primary(router, clause, route)
        if reason is None:
            # A connection, not an engine: the session then neither commits nor closes it, and a
            # replica that dies cannot fail the COMMIT on the primary.
            return router.reader()
        router.go_to_primary(reason)
        return router.bind

    def bind_mapper(self, *args: Any, **kw: Any) -> None:
        self._refuse_binds()
        super().bind_mapper(*args, **kw)

    def bind_table(self, *args: Any, **kw: Any) -> None:
        self._refuse_binds()
        super().bind_table(*args, **kw)

    def _refuse_binds(self) -> None:
        if self.router is not None:
            raise ConfigurationError(_DATABASE_OR_BINDS)

    def _reason_for_primary(
        self, router: Router, clause: ClauseElement | None, route: str | None
    ) -> Reason | None:
        """Why a statement goes to the primary; None if it is a plain read."""
        if router.writes:
            return Reason.MAY_WRITE
        transaction = self.get_transaction()
        if transaction is not None and transaction.origin is SessionTransactionOrigin.BEGIN:
            return Reason.MAY_WRITE  # an explicit begin() says so
        if self.twophase or self.in_nested_transaction():
            return Reason.MAY_WRITE
        if "isolation_level" in self.execution_options:
            return Reason.MAY_WRITE  # replicas are read in autocommit
        said: Mapping[str, Any] = getattr(clause, "get_execution_options", dict)()
        route = route or said.get("route") or self.execution_options.get("route")
        match route:
            case "read":
                return None
            case "primary":
                return Reason.ASKED
            case None:
                plain = clause is not None and is_plain_read(clause)
                return None if plain else Reason.MAY_WRITE
        raise ConfigurationError(f"route={route!r}: it is 'read' or 'primary'")

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            router = self.router
            if router is not None and not self.in_transaction() and not router.opening:
                router.abandon()

    def close(self) -> None:
        try:
            if self.router is not None and self.router.cluster.closed:
                super().invalidate()  # the pools are gone, and would never close a connection
            else:
                super().close()
        finally:
            if self.router is not None:
                self.router.ended()


@event.listens_for(RoutedSession, "after_begin")
def _after_begin(session: RoutedSession, _: SessionTransaction, connection: Connection) -> None:
    if session.router is not None:
        session.router.began(connection)


@event.listens_for(RoutedSession, "before_flush")
def _before_flush(session: RoutedSession, *_: Any) -> None:
    if session.router is not None:
        session.router.may_write()


@event.listens_for(RoutedSession, "after_flush")
def _after_flush(session: RoutedSession, *_: Any) -> None:
    if session.router is not None and (
        session.new or session.deleted or any(map(session.is_modified, session.dirty))
    ):
        session.router.wrote()


@event.listens_for(RoutedSession, "after_commit")
def _after_commit(session: RoutedSession) -> None:
    # The release of a savepoint is announced in the same way.
    if session.router is not None and not session.in_nested_transaction():
        session.router.committed()


@event.listens_for(RoutedSession, "after_transaction_end")
def _after_transaction_end(session: RoutedSession, transaction: SessionTransaction) -> None:
    if session.router is not None and transaction.parent is None:
        session.router.ended()


class _ReadOnlyTransaction(AsyncSessionTransaction):
    __slots__ = ()

    async def start(self, is_ctxmanager: bool = False) -> AsyncSessionTransaction:
        assert isinstance(self.session, BookmarkSession)
        router = self.session._router()
        await super().start(is_ctxmanager)
        router.begin_read_only()
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
        ConfigurationError: the arguments do not go together; the message says what to change.
        DatabaseClosed: the `database` is not started, or closed.
        InvalidBookmark: the constraint is none of the words, nor a bookmark.
        ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``; or
            several bookmarks are of different databases.

    Raises by any statement, and at the end of a transaction:
        ConfigurationError: ``route`` is neither ``"read"`` nor ``"primary"``; the connection is in
            autocommit, and may write; a table is bound to an engine of its own; or the primary has
            lost the table that it keeps its position in.
        DatabaseClosed: the `database` was closed meanwhile.
        ReadOnlyError: the statement writes, and its transaction is read-only, or the statement is
            marked as a read.
        NotCaughtUp: no server that answers has all that the session must see. `NoPrimary`,
            `PrimaryChanged` and `PrimaryBehind` say more.
        WriteLost: the database does not have any more what the session must see.
    """

    sync_session_class: type[Session] = RoutedSession

    def __init__(
        self,
        bind: Any = None,
        *,
        database: SupportsSessions | None = None,
        constraint: Constraint = None,
        **options: Any,
    ) -> None:
        if database is None:
            if constraint is not None:
                raise ConfigurationError("a constraint needs a database to be met by")
            super().__init__(bind, **options)
            return
        if bind is not None or options.get("binds"):
            raise ConfigurationError(_DATABASE_OR_BINDS)
        cluster, rules = database.cluster, database.rules
        memory = SessionMemory.begin(cluster, rules, constraint)
        super().__init__(cluster.writer, **options)
        if not isinstance(self.sync_session, RoutedSession):
            raise ConfigurationError("sync_session_class must be a subclass of RoutedSession")
        self.sync_session.router = Router(cluster, rules, memory)

    def __repr__(self) -> str:
        router = getattr(self.sync_session, "router", None)
        if router is None:
            return f"<{type(self).__name__} without a Database>"
        route = router.last_route
        last = "no transaction yet" if route is None else f"last on {route.server}: {route.reason}"
        return f"<{type(self).__name__} at {router.located!r}, {last}>"

    def begin(self, *, read_only: bool = False) -> AsyncSessionTransaction:
        """Begin a transaction, on the primary.

        Args:
            read_only: the transaction will not write. It is then one repeatable read, on any
                server that has caught up; a write in it raises `ReadOnlyError`.

        Raises:
            OrmError: ``read_only``, and the session has no `database`; when the block is entered.
        """
        return _ReadOnlyTransaction(self) if read_only else super().begin()

    async def __aexit__(self, *exception: Any) -> None:
        router = getattr(self.sync_session, "router", None)
        if router is not None and router.ends_at_once:
            await self.close()  # nothing awaits, so it needs no task that SQLAlchemy shields
        else:
            await super().__aexit__(*exception)

    async def bookmark(self) -> str:
        """The state of the database that this session has seen; the next session starts from it.

        Covers all reads and all committed writes so far. Takes a round trip when the latest reads
        have not been located yet, none otherwise.

        Returns:
            An opaque, URL-safe string of at most 1,024 characters.

        Raises:
            OrmError: the session has no `database`.
            ConfigurationError: the primary has lost the table that it keeps its position in.
            InvalidBookmark: the string would have more than 1,024 characters.
            NotCaughtUp: the latest reads cannot be located now, since no primary answers.
            WriteLost: another primary has taken over, and may not have what the session has read.
        """
        router = self._router()
        at = await self.run_sync(lambda _: router.locate())
        return at.encode(router.rules.keys)

    @property
    def located(self) -> Bookmark:
        """What `bookmark` knows without a round trip: it may lack the latest reads.

        Raises:
            OrmError: the session has no `database`.
        """
        return self._router().located

    @property
    def may_write(self) -> bool:
        """Whether a transaction is open that may write, and so runs on the primary."""
        router = getattr(self.sync_session, "router", None)
        return self.in_transaction() and router is not None and bool(router.writes)

    @property
    def last_route(self) -> Route | None:
        """Which server served the latest transaction, and why; None before the first one."""
        router = getattr(self.sync_session, "router", None)
        return None if router is None else router.last_route

    def _router(self) -> Router:
        router: Router | None = getattr(self.sync_session, "router", None)
        if router is None:
            raise OrmError("this session has no Database: make it by Database.session()")
        return router
