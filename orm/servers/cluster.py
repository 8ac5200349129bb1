"""The servers of one database: which of them is the primary, and which engine writes there."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Backend, Roles
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, DatabaseClosed, NoPrimary, PrimaryChanged
from orm.servers.epoch import PrimaryEpoch
from orm.servers.past import Past
from orm.servers.roles import roles_of
from orm.servers.server import Server, why
from orm.servers.timing import FAR_BEHIND, ROLE_CHANGES
from orm.servers.watcher import Watcher

__all__ = ["Cluster", "refuse_autocommit"]

_T = TypeVar("_T")

_log = logging.getLogger("orm.cluster")


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
    """The servers of one `Database`. The role of each is what the server says, not its place here.

    Args:
        backend: of all servers.
        primary: the server that was given as the primary.
        replicas: the servers that were given as replicas.
    """

    def __init__(
        self,
        backend: Backend,
        primary: Server,
        replicas: Sequence[Server],
    ) -> None:
        self.backend = backend
        self.roles: Roles = roles_of(backend)
        self.primary: Server = primary
        self.replicas: Sequence[Server] = replicas
        self.shared: bool = primary.shared
        """Whether a connection may lead to another server with each transaction."""
        self.epoch: PrimaryEpoch = PrimaryEpoch(self.roles)
        self.past: Past = Past()
        """Where the primary of this epoch was, and when."""
        self.watcher: Watcher = Watcher([primary, *replicas])
        self.on_commit: Callable[[], None] = lambda: None
        """Called after each commit of a session."""
        self.floor: Bookmark | None = None
        """The least state that any session sees: the primary's at start. None before the start."""
        self.closed: bool = False
        self._process = os.getpid()
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that it was opened in; None before that."""
        for server in (primary, *replicas):
            server.on_answer = self._answered

    @property
    def writer(self) -> AsyncEngine:
        """The engine for transactions that may write, on the primary."""
        return self.primary.writer

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
        return Cluster(self.backend, self.primary, self.replicas)

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

    def ask_primary(self, ask: Callable[[Connection], _T]) -> _T:
        """Ask on a reading connection that is certain to lead to the primary.

        Args:
            ask: called with it; twice, if the first one turns out to be dead.

        Returns:
            What `ask` returned.

        Raises:
            NoPrimary: it cannot be reached.
            PrimaryChanged: the primary changes again and again.
        """
        lost = False
        for _ in range(ROLE_CHANGES):
            primary = self.primary
            try:
                with primary.engine.sync_engine.connect() as connection:
                    if self.leads_to_primary(primary, connection):
                        return ask(connection)
                    connection.invalidate()  # else its pool hands it out again
            except (DBAPIError, OSError) as error:
                if lost or not getattr(error, "connection_invalidated", False):
                    self.require_reached(primary, error)
                    raise
                lost = True
        raise PrimaryChanged("the primary has changed: try the transaction again")

    def require_reached(self, primary: Server, error: Exception) -> None:
        """If an error says that the primary is away, have the servers asked which one it is now.

        Args:
            primary: the server that was taken for it.
            error: what connecting to it, or a question on a connection of the library's own, has
                failed with.

        Raises:
            NoPrimary: it is away.
        """
        if self.backend.is_unreachable(error):
            self.watcher.nudge()
            raise NoPrimary(
                f"the primary ({primary.name}) cannot be reached: {why(error)}. Try the "
                "transaction again, as db.run(work) does. What each server says: orm status "
                "--remote"
            ) from error

    # Servers that come and go ----------------------------------------------------------------

    def add(self, server: Server) -> None:
        """Add a replica. It serves as soon as its position is known.

        Raises:
            ConfigurationError: there is a server of that name.
        """
        if server.name in {other.name for other in (self.primary, *self.replicas)}:
            raise ConfigurationError(
                f"there is a server {server.name!r} already: name it otherwise"
            )
        server.on_answer = self._answered
        self.replicas = [*self.replicas, server]
        self.watcher.add(server)

    async def remove(self, name: str, drain: float) -> None:
        """Remove a replica. Reads that are under way there may go on for some time.

        Args:
            name: of the replica.
            drain: seconds for which they may go on.

        Raises:
            ConfigurationError: there is no replica of that name.
        """
        server = next((one for one in self.replicas if one.name == name), None)
        if server is None:
            there = ", ".join(repr(one.name) for one in self.replicas) or "none"
            raise ConfigurationError(
                f"there is no replica {name!r} (there are: {there}); the primary cannot be removed"
            )
        self.replicas = [one for one in self.replicas if one is not server]
        await self.watcher.remove(server)
        await server.drain(drain)

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
        if at is None:
            return
        if server is self.primary:
            self._primary_answered(server, at)
        elif server.is_standby is None:
            self._tell_lag(server, at)
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
            else:
                self._tell_lag(server, at)
        elif self.epoch.at is None or self.primary.is_standby or self.epoch.is_before(at):
            self._elect(server, at)
        else:
            server.refuse(f"it was the primary, and {self.primary.name} has replaced it")

    def _tell_lag(self, server: Server, at: Bookmark) -> None:
        """Log once that a replica has fallen far behind, and once that it has caught up."""
        until = self.past.shown_until(at)
        behind = 0.0 if until is None else server.asked_at - until
        if behind > FAR_BEHIND and not server.is_far_behind:
            _log.warning(
                "%s is more than %.0f minutes behind the primary",
                server.name,
                FAR_BEHIND / 60,
                extra={"server": server.name, "seconds": behind},
            )
        elif behind <= FAR_BEHIND and server.is_far_behind:
            _log.info("%s is behind no longer", server.name, extra={"server": server.name})
        server.is_far_behind = behind > FAR_BEHIND

    def _begin_term(self, server: Server) -> None:
        """Begin a new term on a server that was promoted: its position then says that it was.

        By that position the server is elected. A cluster that is not open is only looked at, and
        nothing is written.
        """
        if self.loop is None:
            return
        with server.writer.sync_engine.connect() as connection:
            self.backend.prepare(connection)
            connection.commit()
            server.ask(connection)

    def _primary_answered(self, server: Server, at: Bookmark) -> None:
        if server.is_standby:
            server.refuse("it is a standby, and no other server is the primary")
        elif self.epoch.is_after(at):
            # The name leads to several servers in turn.
            server.refuse("it is a primary that was replaced by another one")
        else:
            self.primary_is_at(at)
            self.past.note(self.roles.as_need(at), server.asked_at)

    def _elect(self, server: Server, at: Bookmark) -> None:
        """Take a server for the primary from now on, in place of the one before."""
        old = self.primary
        _log.warning(
            "%s is the primary now, and %s is not",
            server.name,
            old.name,
            extra={"server": server.name, "was": old.name},
        )
        old.role, server.role = "replica", "primary"
        self.primary = server
        self.replicas = [*(other for other in self.replicas if other is not server), old]
        self._begin_epoch(at)

    def _begin_epoch(self, at: Bookmark) -> None:
        self.epoch.begin(at)
        self.past.clear()
        floor = self.floor
        if floor is not None and floor.history == at.history and self.roles.lost(at, floor):
            self.floor = self.roles.as_need(at)  # else no server could serve any session again
        for replica in self.replicas:
            replica.distrust()
