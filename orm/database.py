"""`Database`: the servers of one database, for as long as an application runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, Self

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker

from orm.backends import Backend, EmbeddedReplica, backend_for
from orm.connection import BookmarkConnection
from orm.constraint import Constraint
from orm.exceptions import ConfigurationError, DatabaseClosed, NoPrimary, ReplicaUnavailable
from orm.routing import Route
from orm.routing.rules import Rules
from orm.servers.cluster import Cluster, refuse_autocommit
from orm.servers.server import Role, Server
from orm.servers.status import ServerStatus, ask, known
from orm.servers.timing import Limits
from orm.session import BookmarkSession

__all__ = ["Database"]

_log = logging.getLogger(__name__)


class Database:
    """A primary, its replicas, and the sessions over them.

    Use it in ``async with``, once, in one event loop::

        async with Database("sqlite+aiosqlite:///app.db", replicas=2) as db:
            async with db.session() as session: ...

    Args:
        primary: the primary's URL, with an async driver.
        replicas: the replicas' URLs; or how many to keep beside the primary's file, where the
            engine is embedded (SQLite).
        max_wait: seconds that a read may wait for a replica to catch up before the primary
            serves it; 0 never waits.
        fallback: whether the primary serves the reads that no replica can serve in time. If not,
            they raise `NotCaughtUp`.
        connect_timeout: seconds that it may take to connect to a server.
        dead_after: seconds after which a server that does not answer the watcher is taken for dead:
            what is in flight there is cut off, and reads are served elsewhere. The watcher asks
            each server once a second. Where the database is a file, this has no meaning.
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
        primary: str | URL,
        *,
        replicas: int | Sequence[str | URL] = 0,
        max_wait: float = 0.05,
        fallback: bool = True,
        connect_timeout: float = 5.0,
        dead_after: float = 1.0,
        shared: bool = False,
        bookmark_keys: Sequence[str | bytes] = (),
        stray_bookmarks: Literal["primary", "error"] = "primary",
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        url = _url(primary)
        backend = backend_for(url)
        options = dict(engine_options or {})
        refuse_autocommit(options | dict(options.get("execution_options", {})))
        if max_wait < 0:
            raise ConfigurationError("max_wait is a number of seconds, 0 or more")
        if connect_timeout <= 0 or dead_after <= 0:
            raise ConfigurationError("connect_timeout and dead_after are numbers of seconds, over 0")
        if stray_bookmarks not in ("primary", "error"):
            raise ConfigurationError("stray_bookmarks is 'primary' or 'error'")
        self._embedded: list[EmbeddedReplica] = []
        if isinstance(replicas, int):
            urls = self._embed(backend, url, replicas)
        else:
            urls = [_url(replica) for replica in replicas]
        for replica in urls:
            if replica.get_backend_name() != url.get_backend_name():
                raise ConfigurationError("the primary and its replicas are of one engine family")
        limits = Limits(connect_timeout=connect_timeout, dead_after=dead_after)

        def new_server(name: str, role: Role, at: URL) -> Server:
            return Server(name, role, at, backend, shared=shared, limits=limits, **options)

        primary_server = new_server("primary", "primary", url)
        replica_servers = [
            new_server(f"replica-{number}", "replica", replica)
            for number, replica in enumerate(urls, start=1)
        ]
        for server, embedded in zip(replica_servers, self._embedded, strict=False):
            server.on_damage = embedded.rebuild
        self.cluster: Final[Cluster] = Cluster(
            backend, primary_server, replica_servers
        )
        """The servers."""
        self.cluster.on_commit = self._committed
        self.rules: Final[Rules] = Rules(
            max_wait=max_wait,
            fallback=fallback,
            keys=tuple(k.encode() if isinstance(k, str) else k for k in bookmark_keys),
            stray_bookmarks=stray_bookmarks,
        )
        """The options that all sessions have in common."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = False

    @property
    def embedded(self) -> Sequence[EmbeddedReplica]:
        """The embedded replicas, in order; empty where the engine has none."""
        return self._embedded

    def _embed(self, backend: Backend, primary: URL, count: int) -> list[URL]:
        """Prepare the embedded replicas, none of which runs yet; returns their URLs."""
        if count < 0:
            raise ConfigurationError("replicas is a number, 0 or more, or a list of URLs")
        if count and backend.embedded is None:
            name = primary.get_backend_name()
            raise ConfigurationError(
                f"{name} replicates by itself: give its replicas' URLs, as in "
                f"replicas=['{primary.drivername}://replica-1/app']"
            )
        urls: list[URL] = []
        for number in range(count):
            assert backend.embedded is not None
            urls.append(backend.embedded.url(primary, number + 1))
            landed = partial(self._landed, number)
            self._embedded.append(backend.embedded.replica(primary, number + 1, landed))
        return urls

    def __repr__(self) -> str:
        cluster = self.cluster
        state = "closed" if cluster.closed else "open" if cluster.floor else "not started"
        return f"<Database {cluster.primary.url!r}, {len(cluster.replicas)} replica(s), {state}>"

    async def start(self) -> Self:
        """Open the primary and the replicas. ``async with`` does it.

        A replica that cannot be reached is left out until it answers.

        Raises:
            DatabaseClosed: it was started before.
            ReplicaUnavailable: a replica answered, or is embedded, and could not be opened.
            ConfigurationError: a replica is a copy of another database.
            NoPrimary: no server that answers is the primary.
            sqlalchemy.exc.DBAPIError, OSError: the primary could not be opened.
        """
        if self._started:
            raise DatabaseClosed("a Database is started once: make a new one")
        self._started = True
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        return self

    async def _open(self) -> None:
        cluster = self.cluster
        self._loop = asyncio.get_running_loop()
        if not self._embedded:  # the servers may have changed roles since they were configured
            await cluster.primary.probe()
            await asyncio.gather(*(replica.probe() for replica in cluster.replicas))
        try:
            async with cluster.writer.begin() as connection:
                await connection.run_sync(cluster.backend.prepare)
        except (DBAPIError, OSError) as error:
            url = cluster.primary.url.render_as_string()
            error.add_note(f"{cluster.primary.name} ({url}) cannot be opened")
            raise
        async with cluster.primary.engine.connect() as connection:
            await connection.run_sync(cluster.primary.ask)
        floor = cluster.primary.knowledge.at
        if floor is None:  # after prepare() every primary has one
            raise NoPrimary(
                f"{cluster.primary.name} cannot be used: {cluster.primary.knowledge.error}"
            )
        await self._replicate()
        present = [replica for replica in cluster.replicas if not replica.unreachable]
        await asyncio.gather(*(replica.probe() for replica in present))
        for replica in cluster.replicas:
            known = replica.knowledge
            name = f"{replica.name} ({replica.url.render_as_string()})"
            if replica.unreachable:
                _log.warning(
                    "%s cannot be reached, and serves no session until it answers: %s",
                    name,
                    known.error,
                    extra={"server": replica.name, "error": known.error},
                )
            elif known.error is not None:
                raise ReplicaUnavailable(f"{name} cannot be opened: {known.error}")
            ours = known.at is None or known.at.history == floor.history
            if not ours and not self._embedded:
                raise ConfigurationError(
                    f"{name} is a copy of another database than the primary: check the two URLs"
                )
        cluster.floor = cluster.roles.as_need(floor)
        cluster.watcher.start()

    async def _replicate(self) -> None:
        starting = asyncio.gather(
            *(asyncio.to_thread(replica.start) for replica in self._embedded),
            return_exceptions=True,
        )
        try:
            outcomes = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await starting  # a thread cannot be cancelled, and must have started to be stopped
            raise
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def close(self) -> None:
        """Stop all that runs in the background and close all idle connections. Idempotent.

        Sessions that are still open can be closed after it, but not used.

        Raises:
            ReplicaUnavailable: the thread of an embedded replica does not end. Everything else
                is closed then.
        """
        self._started = self.cluster.closed = True
        async with AsyncExitStack() as stack:  # if one of them fails, the rest is closed too
            for server in (self.cluster.primary, *self.cluster.replicas):
                stack.push_async_callback(server.dispose)
            for replica in self._embedded:
                stack.push_async_callback(asyncio.to_thread, replica.stop)
            stack.push_async_callback(self.cluster.watcher.stop)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def session(self, constraint: Constraint = None, **options: Any) -> BookmarkSession:
        """A new session.

        Args:
            constraint: ``"first-primary"``, ``"first-unconstrained"`` (the default), a bookmark
                that an earlier session handed out, or several, which are merged.
            options: all that `AsyncSession` takes, such as ``expire_on_commit``.

        Raises:
            ConfigurationError: the options do not go together.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        return BookmarkSession(database=self, constraint=constraint, **options)

    def sessionmaker(self, **options: Any) -> async_sessionmaker[BookmarkSession]:
        """A factory of sessions for code that expects SQLAlchemy's.

        Args:
            options: all that `session` takes, by keyword.
        """
        return async_sessionmaker(class_=BookmarkSession, database=self, **options)

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
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
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
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        async with self.session(constraint) as session:
            yield BookmarkConnection(session)

    async def status(self) -> list[ServerStatus]:
        """Every server, asked now: the primary first.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_open()
        return await ask(self.cluster.primary, self.cluster.replicas)

    def last_status(self) -> list[ServerStatus]:
        """Every server, as it answered its last probe: the primary first. Sends nothing.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        self.cluster.require_open()
        return known(self.cluster.primary, self.cluster.replicas)

    def observe(self, observer: Callable[[Route], None]) -> Callable[[], None]:
        """Call a function with every transaction's route: where it goes, why, how long it waited.

        Args:
            observer: called when the first statement of a transaction is about to be sent, and
                again if it moves. Queries wait for it, and fail with what it raises.

        Returns:
            A function without arguments, after which the observer is not called any more.
        """
        rules = self.rules
        rules.observers = (*rules.observers, observer)

        def stop() -> None:
            rules.observers = tuple(other for other in rules.observers if other != observer)

        return stop

    def _committed(self) -> None:
        for replica in self._embedded:
            replica.wake()

    def _landed(self, number: int) -> None:
        """A replica has moved; called in its replicator's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.cluster.replicas[number].nudge)


def _url(given: str | URL) -> URL:
    try:
        return make_url(given)
    except ArgumentError as error:
        raise ConfigurationError(f"not a database URL: {error}") from error
