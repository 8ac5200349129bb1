"""`Database`: the servers of one database, for as long as an application runs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, Self, TypeVar, overload

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from orm._given import function, name, switch
from orm._numbers import count, seconds
from orm.backends import EmbeddedReplica, backend_for
from orm.chain import Chain
from orm.connection import BookmarkConnection
from orm.constraint import Constraint
from orm.exceptions import ConfigurationError, DatabaseClosed
from orm.routing import Route
from orm.routing.rules import Rules, checked_keys, listed
from orm.servers.cluster import Cluster
from orm.servers.discovery import Discover, Discovery
from orm.servers.making import Maker, parse_url
from orm.servers.opening import close_servers, open_servers
from orm.servers.replica import Replica
from orm.servers.status import ServerStatus, ask, known
from orm.servers.timing import DRAIN, HEARTBEAT, SELDOM, Limits
from orm.session import BookmarkSession, over_database

__all__ = ["Database"]

_S = TypeVar("_S", bound=AsyncSession)
_T = TypeVar("_T")


class Database:
    """A primary, its replicas, and the sessions over them.

    Use it in ``async with``, in one process and one event loop::

        async with Database("sqlite+aiosqlite:///app.db", replicas=2) as db:
            async with db.session() as session: ...

    After `close` it can be started again, in another event loop too. The sessions from before stay
    closed.

    Args:
        primary: the primary's URL, with an async driver; or a `Replica`, to name it: the servers
            tell which of them is the primary, and that one may be a replica later.
        replicas: the replicas, as URLs or as `Replica`; or how many to keep beside the primary's
            file, where the engine is embedded (SQLite); or an asynchronous function that says which
            there are, and is asked every 5 s (`by_dns` makes one). An embedded replica gets a copy
            of the whole file after a commit. That is right for files of up to some 20 MB: to copy a
            larger one takes longer than `max_wait`, so that what follows a write is read on the
            primary. More than 64 are refused.
        zones: which replicas to prefer, by their zone, the best zone first. A read goes to the
            first zone of the list that has a replica which has caught up. Replicas of other zones
            serve only if no zone of the list has such a replica.
        max_wait: seconds that a read may wait for a replica to catch up before the primary
            serves it; 0 never waits.
        max_staleness: seconds that a replica may be behind the primary, at least 2. A replica that
            is further behind, or may be, serves no session; what happens then is as for one that
            has not caught up. None allows any lag.
        fallback: whether the primary serves the reads that no replica can serve in time. If not,
            they raise `NotCaughtUp`.
        connect_timeout: seconds that it may take to connect to a server.
        dead_after: seconds after which a server that does not answer the watcher is taken for dead,
            if it answers no session either: what is in flight there is cut off, and reads are
            served elsewhere. The watcher asks each server once a second. Where the database is a
            file, this has no meaning.
        shared: whether the URLs lead to a pooler that gives each transaction a server connection,
            such as PgBouncer in transaction mode. Each transaction then asks the server that
            it reads from for its position: two more round trips. Transactions that are begun
            read-only go to the primary.
        bookmark_keys: secret keys that sign bookmarks: the first one signs, all are accepted.
        stray_bookmarks: what a session does whose bookmark is of another database, or ahead of
            the primary: ``"primary"`` reads from the primary and starts anew,
            ``"error"`` raises `ForeignBookmark` or `WriteLost`. A signed bookmark ahead of the
            primary always raises: the signature proves that the write was there.
        engine_options: passed on to `create_async_engine` for the engines that serve sessions.

    Raises:
        ConfigurationError: the arguments cannot work so; the message says what to change.
    """

    def __init__(
        self,
        primary: str | URL | Replica,
        *,
        replicas: int | Sequence[str | URL | Replica] | Discover = 0,
        zones: Sequence[str] = (),
        max_wait: float = 0.05,
        max_staleness: float | None = None,
        fallback: bool = True,
        connect_timeout: float = 5.0,
        dead_after: float = 1.0,
        shared: bool = False,
        bookmark_keys: Sequence[str | bytes] = (),
        stray_bookmarks: Literal["primary", "error"] = "primary",
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        first = primary if isinstance(primary, Replica) else Replica(primary)
        url = parse_url(first.url)
        backend = backend_for(url)
        switch("fallback", fallback)
        switch("shared", shared)
        seldom = HEARTBEAT if max_staleness is not None else SELDOM.longest
        limits = Limits(connect_timeout=connect_timeout, dead_after=dead_after, seldom=seldom)
        self._make: Final = Maker(
            backend, first, shared=shared, limits=limits, options=engine_options or {}
        )
        self._embedded: Sequence[EmbeddedReplica] = ()
        self._discovery: Discovery | None = None
        if isinstance(replicas, int | float):
            made = self._make.embedded(
                count("replicas", replicas, or_else=", or a list of URLs"), self._landed
            )
            replica_servers = [server for server, _ in made]
            self._embedded = [keeper for _, keeper in made]
        elif callable(replicas):
            replica_servers = []
            self._discovery = Discovery(replicas, self, (url, self._make.primary.name))
        else:
            replica_servers = self._make.replicas(listed("replicas", replicas))
        self.cluster: Cluster = Cluster(backend, self._make.primary, replica_servers)
        """The servers; another object each time that the database is started anew."""
        self.rules: Final[Rules] = Rules(
            max_wait=max_wait,
            max_staleness=max_staleness,
            fallback=fallback,
            zones=tuple(name("a zone of zones", zone) for zone in listed("zones", zones)),
            keys=checked_keys(bookmark_keys),
            stray_bookmarks=stray_bookmarks,
        )
        """The options that all sessions have in common."""
        self._started = False

    @property
    def engine(self) -> AsyncEngine:
        """The engine for transactions that may write, on the primary.

        For libraries that want an engine. What is read there is not routed, and sessions do not
        know what is written there: a session reads it for certain if it starts
        ``"first-primary"``.
        """
        return self.cluster.writer

    @property
    def engines(self) -> Sequence[AsyncEngine]:
        """All engines that serve sessions, for event listeners. A restart keeps them.

        The engine for writes on a server is made when that server becomes the primary.
        """
        cluster = self.cluster
        readers = (server.engine for server in (cluster.primary, *cluster.replicas))
        return [cluster.writer, *readers]

    @property
    def embedded(self) -> Sequence[EmbeddedReplica]:
        """The embedded replicas, in order; empty where the engine has none."""
        return self._embedded

    def __repr__(self) -> str:
        cluster = self.cluster
        state = "closed" if cluster.closed else "open" if cluster.floor else "not started"
        return f"<Database {cluster.primary.url!r}, {len(cluster.replicas)} replica(s), {state}>"

    async def start(self) -> Self:
        """Open the primary and the replicas. ``async with`` does it.

        A replica that cannot be reached is left out until it answers, and a primary that was
        replaced until it is a replica.

        Raises:
            DatabaseClosed: it is started already, or was before this process was forked.
            ReplicaUnavailable: a replica answered, or is embedded, and could not be opened.
            ConfigurationError: a replica is a copy of another database.
            NoPrimary: no server that answers is the primary.
            sqlalchemy.exc.DBAPIError: the primary answered, and could not be opened.
        """
        if self._started:
            self.cluster.require_started()
            raise DatabaseClosed("this Database is started already: close it first")
        self._started = True
        if self.cluster.closed:
            self.cluster = self.cluster.anew()
        try:
            self.cluster.on_commit = self._committed
            await open_servers(self.cluster, self._embedded, self._discovery)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Stop all that runs in the background and close all idle connections. Idempotent.

        Sessions that are still open can be closed after it, but not used. In a process that was
        forked from the one that started it, nothing is done: all that is the other's.

        Raises:
            ReplicaUnavailable: the thread of an embedded replica does not end. Everything else
                is closed then.
        """
        if self.cluster.forked:
            return
        await close_servers(self.cluster, self._embedded, self._discovery)
        self._started = False

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def session(
        self, constraint: Constraint = None, *, max_staleness: float | None = None, **options: Any
    ) -> BookmarkSession:
        """A new session.

        Args:
            constraint: ``"first-primary"``, ``"first-unconstrained"`` (the default), a bookmark
                that an earlier session handed out, or several, which are merged.
            max_staleness: instead of the Database's, for this session.
            options: all that `AsyncSession` takes, such as ``expire_on_commit``.

        Raises:
            ConfigurationError: the options do not go together.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        return BookmarkSession(
            database=self, constraint=constraint, max_staleness=max_staleness, **options
        )

    @overload
    def sessionmaker(self, *, class_: type[_S], **options: Any) -> async_sessionmaker[_S]: ...
    @overload
    def sessionmaker(
        self, *, class_: None = None, **options: Any
    ) -> async_sessionmaker[BookmarkSession]: ...
    def sessionmaker(
        self, *, class_: type[AsyncSession] | None = None, **options: Any
    ) -> async_sessionmaker[Any]:
        """A factory of sessions for code that expects SQLAlchemy's.

        A library that opens its own sessions, and hands no bookmarks along, reads what it has
        written only with ``constraint="first-primary"``.

        Args:
            class_: of the sessions; `BookmarkSession` by default. One of another library, such as
                SQLModel's, is combined with it.
            options: all that `session` takes, by keyword.

        Raises:
            ConfigurationError: `class_` is no class of sessions.
        """
        return async_sessionmaker(
            class_=over_database(class_ or BookmarkSession), database=self, **options
        )

    @asynccontextmanager
    async def begin(
        self, constraint: Constraint = None, **options: Any
    ) -> AsyncIterator[BookmarkSession]:
        """One transaction that may write, on the primary: committed at the end of the block.

        Args:
            constraint: ``"first-primary"``, ``"first-unconstrained"`` (the default), a bookmark
                that an earlier session handed out, or several, which are merged.
            options: all that `AsyncSession` takes, such as ``expire_on_commit``.

        Raises:
            ConfigurationError: the options do not go together, or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
            NotCaughtUp: the primary cannot serve the transaction at its end.
            WriteLost: the database does not have what the bookmark names; found at the end.
        """
        async with self.session(constraint, **options) as session, session.begin():
            yield session

    @asynccontextmanager
    async def connect(self, constraint: Constraint = None) -> AsyncIterator[BookmarkConnection]:
        """A connection without the ORM, under the same rules. Call its `commit` to keep writes.

        Args:
            constraint: ``"first-primary"``, ``"first-unconstrained"`` (the default), a bookmark
                that an earlier session handed out, or several, which are merged.

        Raises:
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        async with self.session(constraint) as session:
            yield BookmarkConnection(session)

    def chain(self, constraint: Constraint = None) -> Chain:
        """Sessions that follow each other: each starts from what those before it have seen.

        Args:
            constraint: where the first one starts: ``"first-primary"``, ``"first-unconstrained"``
                (the default), a bookmark that an earlier session handed out, or several, which are
                merged.
        """
        return Chain(self, constraint)

    async def run(
        self,
        work: Callable[[BookmarkSession], Awaitable[_T]],
        *,
        constraint: Constraint = None,
        read_only: bool = False,
        idempotent: bool = False,
        retry_for: float = 30.0,
        **options: Any,
    ) -> _T:
        """Do work in one transaction, and again from its beginning if that may help.

        As `Chain.run`, which says when that is. Sessions that shall see what it wrote belong to a
        `chain`.

        Args:
            work: called with the session, in a transaction, once for each attempt.
            constraint: where each attempt starts: as for `session`.
            read_only: the work will not write. It is then one repeatable read, on any server that
                has caught up.
            idempotent: the work may be done twice. It is then tried again if the connection was
                lost in COMMIT, too.
            retry_for: seconds after which no attempt begins any more; 0 tries once.
            options: ``max_staleness``, and all that `AsyncSession` takes; ``expire_on_commit`` is
                False by default, so that objects can be returned.

        Returns:
            What the work returned, when it was committed.

        Raises:
            ConfigurationError: the options do not go together; or the primary has lost the table
                that it keeps its position in.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
            ReadOnlyError: the work writes, and is ``read_only``.
            NotCaughtUp: no server could serve it in time.
            WriteLost: the database does not have what the bookmark names.
            sqlalchemy.exc.DBAPIError, OSError: the last attempt failed with it. A note says so if
                the transaction may have been committed.
        """
        return await self.chain(constraint).run(
            work, read_only=read_only, idempotent=idempotent, retry_for=retry_for, **options
        )

    async def status(self) -> list[ServerStatus]:
        """Every server, asked now: the primary first.

        A server that does not answer is waited for, ``dead_after`` at most: its status is then that
        of its last probe, and says how long ago that was. `last_status` waits for none.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_open()
        return await ask(self.cluster)

    def last_status(self) -> list[ServerStatus]:
        """Every server, as it answered its last probe: the primary first. Sends nothing.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_started()
        return known(self.cluster)

    async def add_replica(self, replica: str | URL | Replica) -> str:
        """Read from one more replica, as soon as its position is known.

        Args:
            replica: where it is. A name, zone or weight takes a `Replica`.

        Returns:
            Its name.

        Raises:
            ConfigurationError: there is a server of that name already; or it is of another engine
                family; or the engine makes its replicas itself.
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_open()
        if self._embedded:
            raise ConfigurationError("the number of embedded replicas is chosen when it is started")
        cluster = self.cluster
        server = self._make.replica(replica, (cluster.primary, *cluster.replicas))
        self.cluster.add(server)
        await server.probe()
        return server.name

    async def remove_replica(self, name: str, *, drain: float = DRAIN) -> None:
        """Read from a replica no longer; return when its connections are closed.

        Sessions that have read there go on elsewhere, and see no less than they have seen.

        Args:
            name: its name.
            drain: seconds for which reads in flight may go on; then they are cut off.

        Raises:
            ConfigurationError: there is no replica of that name, or `drain` is no number.
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_open()
        await self.cluster.remove(name, seconds("drain", drain))

    def observe(self, observer: Callable[[Route], None]) -> Callable[[], None]:
        """Call a function with every transaction's route: where it goes, why, how long it waited.

        Args:
            observer: called when the first statement of a transaction is about to be sent, and
                again if it moves. Queries wait for it, and fail with what it raises.

        Returns:
            A function without arguments, after which the observer is not called any more.

        Raises:
            ConfigurationError: the observer cannot be called, or has to be awaited.
        """
        function("observer", observer)
        rules = self.rules
        rules.observers = (*rules.observers, observer)

        def stop() -> None:
            rules.observers = tuple(other for other in rules.observers if other != observer)

        return stop

    def _committed(self) -> None:
        for replica in self._embedded:
            replica.wake()

    def _landed(self, number: int) -> None:
        """The keeper of an embedded replica has moved it on; called in the keeper's thread."""
        loop = self.cluster.loop
        if loop is not None and not loop.is_closed():
            server, keeper = self.cluster.replicas[number], self._embedded[number]
            loop.call_soon_threadsafe(server.moved, keeper.reached())
