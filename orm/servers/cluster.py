"""The servers of one database: which of them is the primary, and which engine writes there."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Backend, Roles
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, DatabaseClosed, PrimaryChanged
from orm.servers.epoch import PrimaryEpoch
from orm.servers.roles import roles_of
from orm.servers.server import Server
from orm.servers.timing import ROLE_CHANGES
from orm.servers.watcher import Watcher

__all__ = ["Cluster", "refuse_autocommit"]

_log = logging.getLogger("orm.cluster")

_REPLACED: Final = "it is a primary that was replaced by another one"


def refuse_autocommit(options: Mapping[str, Any]) -> None:
    """Refuse a connection that may write, and is in autocommit.

    Args:
        options: of an engine or a connection on the primary.

    Raises:
        ConfigurationError: it is in autocommit.
    """
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise ConfigurationError(
            "AUTOCOMMIT on the primary would write past the position that bookmarks rest on: "
            "use a transaction, or a connection of your own for what cannot run in one"
        )


class Cluster:
    """The servers of one `Database`. Each has the role that it says, not the one that it was given.

    Args:
        backend: of all servers.
        primary: the server that was given as the primary.
        replicas: the servers that were given as replicas.
        new_writer: makes the engine for transactions that may write, on the server of a URL.
        writers: the engines that it has made before, by the names of their servers.
    """

    def __init__(
        self,
        backend: Backend,
        primary: Server,
        replicas: Sequence[Server],
        *,
        new_writer: Callable[[URL], AsyncEngine],
        writers: Mapping[str, AsyncEngine] | None = None,
    ) -> None:
        self.backend = backend
        self.roles: Roles = roles_of(backend)
        self.primary: Server = primary
        self.replicas: Sequence[Server] = replicas
        self.shared: bool = primary.shared
        """Whether a connection may lead to another server with each transaction."""
        self.epoch: PrimaryEpoch = PrimaryEpoch(self.roles)
        self.watcher: Watcher = Watcher([primary, *replicas])
        self.on_commit: Callable[[], None] = lambda: None
        """Called after each commit of a session."""
        self.floor: Bookmark | None = None
        """The least state that any session sees: the primary's at start. None before the start."""
        self.closed: bool = False
        self._new_writer = new_writer
        self._writers = dict(writers or {primary.name: new_writer(primary.url)})
        self._process = os.getpid()
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that it was opened in; None before that."""
        for server in (primary, *replicas):
            server.on_answer = self._answered

    @property
    def writer(self) -> AsyncEngine:
        """The engine for transactions that may write, on the primary."""
        return self._writers[self.primary.name]

    @property
    def writers(self) -> Iterable[AsyncEngine]:
        """The engines of all servers that have been primary."""
        return self._writers.values()

    # Its life: one process, one event loop ---------------------------------------------------

    def open_here(self) -> None:
        """From now on it belongs to the process and the event loop that run now."""
        self._process, self.loop = os.getpid(), asyncio.get_running_loop()

    @property
    def forked(self) -> bool:
        """Whether it was opened in the process that this one was forked from."""
        return self.loop is not None and os.getpid() != self._process

    def anew(self) -> "Cluster":
        """The same servers and engines, of which nothing is known yet.

        The sessions of a cluster that is closed stay closed.
        """
        for server in (self.primary, *self.replicas):
            server.forget()
        return Cluster(
            self.backend,
            self.primary,
            self.replicas,
            new_writer=self._new_writer,
            writers=self._writers,
        )

    def require_started(self) -> Bookmark:
        """The floor of an open database; for what does no I/O, in any thread.

        Raises:
            DatabaseClosed: the database is not started in this process, or closed.
        """
        if self.closed:
            raise DatabaseClosed("this Database is closed: start it anew, or make a new one")
        if self.floor is None:
            raise DatabaseClosed("this Database is not started: use it in 'async with'")
        if os.getpid() != self._process:
            raise DatabaseClosed(
                "this Database was started before this process was forked, and connections do not "
                "survive that: fork first, and start a Database in each process"
            )
        return self.floor

    def require_open(self) -> Bookmark:
        """The floor of a database that is open in this event loop.

        Raises:
            DatabaseClosed: the database is not started here, or closed.
        """
        floor = self.require_started()
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:  # no loop runs: what is made now is used later
            here = True
        if not here:
            raise DatabaseClosed(
                "this Database was started in another event loop, and its connections belong to "
                "that: make one Database for each event loop, or close this one there first"
            )
        return floor

    # Whether a connection leads to the primary -----------------------------------------------

    def leads_to_primary(self, server: Server, connection: Connection) -> bool:
        """Whether a connection leads to the primary.

        An incarnation keeps its role; after a restart the server may follow another primary. So
        this takes one round trip for each incarnation, and none where servers do not tell roles.

        Args:
            server: the one that is believed to be the primary.
            connection: to the address of that server.
        """
        if server.shared or not server.is_known(connection):
            server.ask(connection)
            if not server.is_known(connection):
                return False
        return server is self.primary

    @contextmanager
    def connected_to_primary(self) -> Iterator[Connection]:
        """A reading connection that is certain to lead to the primary.

        Raises:
            PrimaryChanged: the primary changes again and again.
        """
        for _ in range(ROLE_CHANGES):
            primary = self.primary
            with primary.engine.sync_engine.connect() as connection:
                if self.leads_to_primary(primary, connection):
                    yield connection
                    return
                connection.invalidate()  # else its pool hands it out again
        raise PrimaryChanged("the primary has changed: try the transaction again")

    # Which server is the primary -------------------------------------------------------------

    def primary_is_at(self, at: Bookmark) -> None:
        """The primary has been at `at`: it has said so, or has committed there."""
        if not self.epoch.is_before(at):
            self.epoch.advance(at)
            return
        self._begin_epoch(at)
        if not self.primary.covers(at):
            self.primary.distrust()  # the knowledge is of another server under its name

    def _answered(self, server: Server) -> None:
        """A server has told its position and role."""
        at = server.knowledge.at
        if at is None or server.is_standby is None:
            return
        if server is self.primary:
            self._primary_answered(server, at)
        elif not self.epoch.is_of(at.history):
            if self.floor is not None:  # else `Database.start` says so
                server.refuse("it is a copy of another database than the primary")
        elif server.is_standby:
            if server.is_candidate and (self.primary.unreachable or self.primary.is_standby):
                self._begin_term(server)
            elif self.epoch.is_before(at):
                server.refuse("it follows a primary that has not been found yet")
                self.watcher.nudge()
            elif lost := self.epoch.lost(at):
                server.refuse(f"it follows a primary that was replaced: {lost}")
        elif self.epoch.at is None or self.primary.is_standby or self.epoch.is_before(at):
            self._elect(server, at)
        else:
            server.refuse(_REPLACED)

    def _begin_term(self, server: Server) -> None:
        """Have a server that was promoted say so in its position, by which it is elected."""
        with self._writer_of(server).sync_engine.connect() as connection:
            self.backend.prepare(connection)
            connection.commit()
            server.ask(connection)

    def _writer_of(self, server: Server) -> AsyncEngine:
        if server.name not in self._writers:
            self._writers[server.name] = self._new_writer(server.url)
        return self._writers[server.name]

    def _primary_answered(self, server: Server, at: Bookmark) -> None:
        if server.is_standby:
            server.refuse("it is a standby, and no other server is the primary")
        elif self.epoch.is_after(at):
            server.refuse(_REPLACED)  # the name leads to several servers in turn
        else:
            self.primary_is_at(at)

    def _elect(self, server: Server, at: Bookmark) -> None:
        old = self.primary
        _log.warning(
            "%s is the primary now, and %s is not",
            server.name,
            old.name,
            extra={"server": server.name, "was": old.name},
        )
        old.role, server.role = "replica", "primary"
        self._writer_of(server)
        self.primary = server
        self.replicas = [*(other for other in self.replicas if other is not server), old]
        self._begin_epoch(at)

    def _begin_epoch(self, at: Bookmark) -> None:
        self.epoch.begin(at)
        floor = self.floor
        if floor is not None and floor.history == at.history and self.roles.lost(at, floor):
            self.floor = self.roles.as_need(at)  # else no server could serve any session again
        for replica in self.replicas:
            replica.distrust()
