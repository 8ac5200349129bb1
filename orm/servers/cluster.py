"""The servers of one database, and the rules that all its sessions share."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, DatabaseClosed, NotCaughtUp
from orm.servers.roles import roles_of
from orm.servers.server import Server
from orm.servers.watcher import Watcher

__all__ = ["Cluster", "refuse_autocommit"]

_log = logging.getLogger("orm.cluster")

_REPLACED: Final = "it is a primary that was replaced by another one"


def refuse_autocommit(options: Mapping[str, Any]) -> None:
    """See that what may write is in a transaction.

    Args:
        options: of an engine or a connection on the primary.

    Raises:
        ConfigurationError: it is not.
    """
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise ConfigurationError(
            "AUTOCOMMIT on the primary would write past the position that bookmarks rest on: "
            "use a transaction, or a connection of your own for what cannot run in one"
        )


@dataclass(kw_only=True)
class Cluster:
    """What a session needs to know of its `Database`.

    Attributes:
        backend: what the engine family can do.
        writer: the engine for transactions that may write, on the primary.
        new_writer: makes one, for another server.
        primary: the primary, for plain reads.
        replicas: all replicas.
        watcher: keeps the knowledge of all servers fresh.
        shared: whether a connection may lead to another server with each transaction.
        max_wait: seconds that a read may wait for a replica before the primary serves it.
        fallback: whether the primary serves reads that no replica can serve.
        keys: secret keys of bookmarks; the first one signs.
        stray_bookmarks: what to do with a bookmark that is not of this database's history.
        committed: called after each commit of a session.
    """

    backend: Backend
    writer: AsyncEngine
    new_writer: Callable[[URL], AsyncEngine]
    primary: Server
    replicas: Sequence[Server]
    watcher: Watcher
    shared: bool
    max_wait: float
    fallback: bool
    keys: Sequence[bytes]
    stray_bookmarks: Literal["primary", "error"]
    committed: Callable[[], None]
    floor: Bookmark | None = None
    """The least state that any session sees: where the primary was at start. None: not open."""
    observers: tuple[Callable[[Any], None], ...] = ()
    """Told where each transaction goes."""
    closed: bool = False
    turns: "count[int]" = field(default_factory=count)
    epoch: int = 0
    """Raised whenever the primary is another one, or leads another life, than it was."""
    head: Bookmark | None = None
    """Where the primary was when it last answered."""
    _writers: dict[str, AsyncEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roles = roles_of(self.backend)
        self._writers[self.primary.name] = self.writer
        for server in (self.primary, *self.replicas):
            server.answered = self._answered

    @property
    def writers(self) -> Iterable[AsyncEngine]:
        """The engines of all servers that have been primary."""
        return self._writers.values()

    # Roles -------------------------------------------------------------------------------------

    def _answered(self, server: Server) -> None:
        """Roles are what servers say, and not what they were configured as."""
        at = server.knowledge.at
        if at is None or server.is_standby is None:
            return
        head = self.head
        if head is not None and at.history != head.history and server is not self.primary:
            if self.floor is not None:  # else whoever starts says so
                server.fail(NotCaughtUp("it is a copy of another database than the primary"))
        elif server is self.primary:
            if server.is_standby:
                server.fail(NotCaughtUp("it is a standby, and no other server is the primary"))
            elif head is not None and self.roles.is_later(head, at):
                server.fail(NotCaughtUp(_REPLACED))  # the name leads to several servers in turn
            else:
                self.primary_at(at)
        elif not server.is_standby:
            if head is None or self.primary.is_standby or self._is_later(at):
                self._elect(server, at)
            else:
                server.fail(NotCaughtUp(_REPLACED))
        elif head is not None:
            diverged = self.roles.lost(head, at)
            if self.roles.is_later(at, head):
                server.fail(NotCaughtUp("it follows a primary that has not been found yet"))
                self.watcher.nudge()
            elif diverged:
                server.fail(NotCaughtUp(f"it follows a primary that was replaced: {diverged}"))

    def primary_at(self, at: Bookmark) -> None:
        """The primary has been there: at a commit, or when it was asked."""
        if self.head is None:
            self.head = at
        elif self._is_later(at):
            self._new_epoch(at)
            if not self.primary.covers(at):
                self.primary.distrust()  # what is known is of another one under its name
        elif not self.roles.is_later(self.head, at):  # else it is of a primary before this one
            self.head = self.head.merge(at)

    def _is_later(self, at: Bookmark) -> bool:
        head = self.head
        return head is not None and (at.history != head.history or self.roles.is_later(at, head))

    def _elect(self, server: Server, at: Bookmark) -> None:
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
        if server.name not in self._writers:
            self._writers[server.name] = self.new_writer(server.url)
        self.writer = self._writers[server.name]
        self._new_epoch(at)

    def _new_epoch(self, at: Bookmark) -> None:
        self.epoch += 1
        self.head = at
        floor = self.floor
        if floor is not None and floor.history == at.history and self.roles.lost(at, floor):
            self.floor = self.roles.as_need(at)  # else nobody could ever be served again
        for replica in self.replicas:
            replica.distrust()

    def require_open(self) -> Bookmark:
        """The floor.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        if self.closed:
            raise DatabaseClosed("this Database is closed: make a new one")
        if self.floor is None:
            raise DatabaseClosed("this Database is not started: use it in 'async with'")
        return self.floor
