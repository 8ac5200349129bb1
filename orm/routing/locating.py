"""What a session has seen, and where that lies: asked of the servers.

All of it runs inside SQLAlchemy's greenlet.
"""

from asyncio import sleep
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm._greenlet import await_
from orm.backends import Fences
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, NotCaughtUp, WriteLost
from orm.routing.memory import SessionMemory
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster
from orm.servers.server import Server

__all__ = ["CANNOT_CONNECT", "PRIMARY_CHANGED", "TRIES", "Locator"]

CANNOT_CONNECT: Final = (DBAPIError, InvalidRequestError, OSError)
"""The pool raises the second once it has dropped several connections in a row (`_checkout`), a
driver the third."""

PRIMARY_CHANGED: Final = "the primary has changed: try the transaction again"

TRIES: Final = 3
"""How often somebody may find that the primary has changed."""

_FENCE: Final = 5.0  # seconds
_ENDING: Final = 0.1  # seconds in which a commit ends that waits for no standby
_SHORTEST: Final = 0.001
_LONGEST: Final = 0.02

_NO_POSITION: Final = "the primary has lost its position: start the Database anew"


class Locator:
    """Keeps a session's memory true.

    Args:
        cluster: the servers, and the rules.
        memory: the memory.
    """

    def __init__(self, cluster: Cluster, memory: SessionMemory) -> None:
        self._cluster = cluster
        self._memory = memory

    def await_primary(self, transaction: Transaction) -> None:
        """Return when the primary is known to have, and shows, all that was seen.

        A replica can show a commit a moment before the primary's own snapshots do, and for as long
        as a synchronous standby keeps the commit waiting.

        Raises:
            NotCaughtUp: it does not, for long.
            WriteLost: it never will.
        """
        fences, memory = self._cluster.backend.fences, self._memory
        read = memory.unlocated
        if fences is not None and read is not None and read.role == "replica":
            self.locate(transaction)
        if memory.proven != self._cluster.epoch:
            self.prove(transaction)
        shown, pause, waited = memory.bookmark.shown, _SHORTEST, 0.0
        if fences is None or not shown:
            return
        with self._primary() as connection:
            hidden = fences.hidden(connection, shown)
            seen = self._seen_of(transaction, fences, hidden) if hidden else hidden
            while awaited := hidden if seen is None else hidden & seen:
                if seen is None and waited > _ENDING:
                    awaited = fences.ending(connection, awaited)
                    if not awaited:
                        break
                if waited > _FENCE:
                    raise NotCaughtUp(
                        f"the primary has not shown for {waited:.0f} s what was read on a replica: "
                        "does it wait for a synchronous standby?"
                    )
                await_(sleep(pause))
                waited, pause = waited + pause, min(2 * pause, _LONGEST)
                hidden = fences.hidden(connection, shown)
        memory.passed_fence()

    def _seen_of(
        self, transaction: Transaction, fences: Fences, hidden: frozenset[int]
    ) -> frozenset[int] | None:
        """What of that may have been seen: None if no replica can tell.

        A replica that has caught up can: what it does not show was not seen.
        """
        need = self._memory.bookmark
        for server in self._cluster.replicas:
            try:
                if transaction.server is server and transaction.connection is not None:
                    return fences.shown(transaction.connection, hidden)
                with server.engine.sync_engine.connect() as connection:
                    at = server.ask(connection).at
                    if at is not None and at.covers(need):
                        return fences.shown(connection, hidden)
            except CANNOT_CONNECT as error:
                server.fail(error)
        return None

    def locate(self, transaction: Transaction) -> Bookmark:
        """Learn the position of all that was seen so far; a round trip, if one is needed at all."""
        server = self._memory.unlocated
        if server is not None and not self._locate_at(transaction, server):
            self.locate_at_primary(transaction)
        return self._memory.bookmark

    def locate_at_primary(self, transaction: Transaction) -> None:
        """What was seen on a server that is gone is somewhere in all that was written so far.

        Raises:
            WriteLost: or it is not, since another primary has taken over.
        """
        cluster, memory, primary = self._cluster, self._memory, self._cluster.primary
        with self._primary() as connection:
            at = cluster.backend.written(connection)
        if at is None:
            raise ConfigurationError(_NO_POSITION)
        if primary is cluster.primary:
            cluster.primary_at(at)
        if memory.epoch != cluster.epoch and at.history == memory.bookmark.history:
            raise WriteLost(
                "the server that this session has read from is gone, and the primary was replaced "
                "meanwhile: what was read may be lost. Start a new session"
            )
        self._saw(transaction, at)

    def _locate_at(self, transaction: Transaction, server: Server) -> bool:
        try:
            at = self._sample(transaction, server)
        except (*CANNOT_CONNECT, PoolTimeout):
            if server.role == "primary":
                raise
            return False
        if at is not None:
            self._saw(transaction, at)
        return at is not None

    def _saw(self, transaction: Transaction, at: Bookmark) -> None:
        self._memory.saw(at)
        head = self._cluster.head
        if head is not None and at.history == head.history and self._strays(at, head):
            self._memory.doubt()
        if transaction.writer is not None:
            # Its COMMIT is still to come.
            self._memory.reads(self._cluster.primary, "", self._cluster.epoch)

    def _strays(self, at: Bookmark, head: Bookmark) -> bool:
        roles = self._cluster.roles
        return roles.is_later(at, head) or roles.lost(head, at) is not None

    def _sample(self, transaction: Transaction, server: Server) -> Bookmark | None:
        """An upper bound of what was read on a server, or None if that incarnation is gone."""
        backend = self._cluster.backend
        if transaction.server is server and transaction.connection is not None:
            return backend.seen(transaction.connection)  # a second of its pool might never come
        same = self._memory.epoch == self._cluster.epoch
        writer = transaction.writer
        if same and server.role == "primary" and writer is not None and writer.in_transaction():
            return backend.seen(writer)  # who holds its readers may be waiting for this writer
        with server.engine.sync_engine.connect() as connection:
            if server.shared:
                server.ask(connection)  # which of them it is
            same = backend.incarnation(connection) == self._memory.incarnation
            if not same and server.role == "primary" and self.is_primary(server, connection):
                same = self._memory.epoch == self._cluster.epoch
            return backend.seen(connection) if same else None

    @contextmanager
    def _primary(self) -> Iterator[Connection]:
        """A connection that is certain to lead to the primary."""
        for _ in range(TRIES):
            primary = self._cluster.primary
            with primary.engine.sync_engine.connect() as connection:
                if self.is_primary(primary, connection):
                    yield connection
                    return
                connection.invalidate()  # its pool would hand it out again
        raise NotCaughtUp(PRIMARY_CHANGED)

    def is_primary(self, server: Server, connection: Connection) -> bool:
        """Whether a connection to what is taken for the primary does lead to it.

        One incarnation goes on being what it was; after a restart it may follow another primary. So
        this takes a round trip once, and where servers do not say what they are, none.
        """
        if not server.shared and server.is_known(connection):
            return server is self._cluster.primary
        server.ask(connection)
        return server is self._cluster.primary and server.is_known(connection)

    def is_proven(self, server: Server, connection: Connection) -> bool:
        """Whether it leads to the primary, and that is certain to have all that was seen."""
        return self.is_primary(server, connection) and self._memory.proven == self._cluster.epoch

    def prove(self, transaction: Transaction) -> bool:
        """See that the bookmark is not ahead of the primary; True if it was, and is dropped.

        Raises:
            WriteLost: it names what the primary does not have.
        """
        memory, cluster = self._memory, self._cluster
        before, looked = memory.proven, False
        while True:
            epoch, primary = cluster.epoch, cluster.primary
            if memory.unlocated is not None and memory.epoch != epoch:
                self.locate(transaction)  # what was read before the primary was replaced
            if not primary.covers(memory.bookmark) and not self._ask(primary):
                return False  # whoever needs the primary will hear of it; a replica may still do
            if epoch != cluster.epoch:
                continue
            head = primary.knowledge.at
            if head is None:
                raise ConfigurationError(_NO_POSITION)
            same = head.history == memory.bookmark.history
            lost = cluster.roles.lost(head, memory.bookmark) if same else None
            if lost is not None:
                raise WriteLost(
                    f"the bookmark names writes that the database does not have: {lost}"
                )
            later = same and cluster.roles.is_later(memory.bookmark, head)
            if not later or looked:
                break
            looked = True
            await_(cluster.watcher.wait(memory.bookmark, cluster.replicas, cluster.max_wait))
        if head.covers(memory.bookmark):
            memory.proven = epoch
            return False
        if before is not None or cluster.keys or cluster.stray_bookmarks == "error":
            if later:
                raise NotCaughtUp("the primary was replaced by one that has not been found yet")
            raise WriteLost(
                "the bookmark names writes that the primary does not have: it was restored to an "
                "earlier state, or the bookmark was not handed out by it"
            )
        memory.proven = epoch
        memory.start_over(cluster.roles.as_need(head))
        return True

    def _ask(self, primary: Server) -> bool:
        try:
            with primary.engine.sync_engine.connect() as connection:
                primary.ask(connection)
                at = self._cluster.backend.seen(connection)
                # Of a standby, which it may be by now, that would be an upper bound.
                if at is not None and self.is_primary(primary, connection):
                    primary.advance(at)
        except CANNOT_CONNECT:
            return False
        return primary.knowledge.error is None
