"""Sessions that read their own writes, whichever server answers."""

from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session

from orm.bookmark import Bookmark
from orm.constraint import Constraint
from orm.exceptions import ConfigurationError, OrmError
from orm.routing import Route
from orm.routing.memory import SessionMemory
from orm.routing.router import Router
from orm.routing.rules import Rules
from orm.routing.session import DATABASE_OR_BINDS, RoutedSession
from orm.servers.cluster import Cluster

__all__ = ["BookmarkSession", "RoutedSession", "over_database"]


class SupportsSessions(Protocol):
    """The part of a `Database` that a session uses."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def rules(self) -> Rules: ...


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
        max_staleness: seconds that a replica may be behind the primary, at least 2; the
            `database`'s if it is omitted.
        options: all that `AsyncSession` takes.

    Raises:
        ConfigurationError: the arguments do not go together; the message says what to change.
        DatabaseClosed: the `database` is not started, or closed.
        InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
        ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``; or
            several bookmarks are of different databases.

    Raises by any statement and at the end of a transaction:
        ConfigurationError: ``route`` is neither ``"read"`` nor ``"primary"``; the connection is in
            autocommit, and may write; a table is bound to an engine of its own; the session has
            ended with its request; or the primary has lost the table that it keeps its position in.
        DatabaseClosed: the `database` was closed meanwhile.
        ReadOnlyError: the statement writes, and its transaction is read-only, or the statement is
            marked as a read.
        NotCaughtUp: no server that answers has all that the session must see. `NoPrimary`,
            `PrimaryChanged` and `PrimaryBehind` say more.
        WriteLost: the database no longer has what the session must see.
    """

    sync_session_class: type[Session] = RoutedSession

    def __init__(
        self,
        bind: Any = None,
        *,
        database: SupportsSessions | None = None,
        constraint: Constraint = None,
        max_staleness: float | None = None,
        **options: Any,
    ) -> None:
        if database is None:
            if constraint is not None or max_staleness is not None:
                raise ConfigurationError("a constraint needs a database to be met by")
            super().__init__(bind, **options)
            return
        if bind is not None or options.get("binds"):
            raise ConfigurationError(DATABASE_OR_BINDS)
        cluster, rules = database.cluster, database.rules
        memory = SessionMemory.begin(cluster, rules, constraint, max_staleness)
        given = options.get("execution_options") or {}
        autocommit = str(given.get("isolation_level", "")).upper() == "AUTOCOMMIT"
        if autocommit:  # reads are in autocommit as they are
            options["execution_options"] = {k: given[k] for k in given if k != "isolation_level"}
        super().__init__(cluster.writer, **options)
        if not isinstance(self.sync_session, RoutedSession):
            raise ConfigurationError("sync_session_class must be a subclass of RoutedSession")
        router = Router(cluster, rules, memory)
        router.autocommit = autocommit
        self.sync_session.router = router

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
        if router.is_located:
            at = router.locate()
        else:
            at = await self.run_sync(lambda _: router.locate())
        return at.encode(router.rules.keys)

    def see(self, constraint: Constraint) -> None:
        """Take in later bookmarks: from the next transaction on, the session sees what they name.

        For a session that lives longer than one request, such as a worker's.

        Args:
            constraint: a bookmark, or several; or ``"first-primary"``, for the next transaction.

        Raises:
            OrmError: the session has no `database`.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: it is neither a word nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
            sqlalchemy.exc.InvalidRequestError: a transaction is open, which stays on its server.
        """
        self._router().see(constraint)

    def end(self, why: str) -> None:
        """Refuse each later statement: it would take a connection that nothing gives back.

        Args:
            why: the sentence of the `ConfigurationError`.

        Raises:
            OrmError: the session has no `database`.
        """
        self._router().over = why

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
    def has_committed(self) -> bool:
        """Whether a transaction that may have written has been committed."""
        router = getattr(self.sync_session, "router", None)
        return router is not None and router.has_committed

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


def over_database(class_: type[AsyncSession]) -> type[AsyncSession]:
    """A session class that is both of another library, such as SQLModel, and a `BookmarkSession`.

    Args:
        class_: the other library's; a `BookmarkSession` is returned as it is.

    Raises:
        ConfigurationError: it is no class of sessions.
    """
    given: object = class_  # the program's types may be unchecked
    if not isinstance(given, type) or not issubclass(given, AsyncSession):
        raise ConfigurationError(f"class_ is a class derived from AsyncSession, and not {given!r}")
    if issubclass(class_, BookmarkSession):
        return class_
    sync = _both(class_.sync_session_class, RoutedSession)
    return _both(class_, BookmarkSession, sync_session_class=sync)


def _both(one: type[Any], other: type[Any], **members: object) -> type[Any]:
    for derived, base in ((one, other), (other, one)):
        if issubclass(derived, base):
            return derived
    return type(one.__name__, (one, other), {"__module__": one.__module__, **members})
