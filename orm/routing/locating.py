"""Locating what a session has read, and checking that the primary has it: by asking servers.

All of it runs inside SQLAlchemy's greenlet.
"""

from typing import Final, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm._greenlet import await_
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, NoPrimary, WriteLost
from orm.routing.again import read_on
from orm.routing.memory import SessionMemory
from orm.routing.rules import Rules
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster
from orm.servers.server import CANNOT_CONNECT, Server

__all__ = ["Locator"]

_NO_POSITION: Final = (
    "the primary has lost its position: it has one again after the next write, or when the "
    "Database is started anew"
)


class Locator:
    """Locates what a session has read, and checks it against the primary.

    Args:
        cluster: the servers.
        rules: of all sessions.
        memory: what the session has seen; it is kept up to date.
    """

    def __init__(self, cluster: Cluster, rules: Rules, memory: SessionMemory) -> None:
        self._cluster = cluster
        self._rules = rules
        self._memory = memory

    # Locating ----------------------------------------------------------------------------------

    def locate(self, transaction: Transaction) -> Bookmark:
        """Learn the position of all that the session has seen so far.

        Takes a round trip if the latest reads have not been located yet, none otherwise.

        Raises:
            PrimaryChanged: the primary has changed several times meanwhile.
            WriteLost: another primary has taken over, and may not have what the session has read.
        """
        server, noted = self._memory.unlocated, self._memory.noted
        if noted is not None:
            self._located(transaction, noted)
        elif server is not None and not self._locate_at(transaction, server):
            self.locate_at_primary(transaction)
        return self._memory.bookmark

    def locate_at_primary(self, transaction: Transaction) -> None:
        """Take all that was written so far as the position of a read whose server is gone.

        Raises:
            ConfigurationError: the primary keeps no position any more.
            PrimaryChanged: the primary has changed several times meanwhile.
            WriteLost: another primary has taken over, and may not have it.
        """
        cluster, memory, primary = self._cluster, self._memory, self._cluster.primary
        at = cluster.ask_primary(cluster.backend.written)
        if at is None:
            raise ConfigurationError(_NO_POSITION)
        if primary is cluster.primary:
            cluster.primary_is_at(at)
        if memory.read_epoch != cluster.epoch.number and at.history == memory.bookmark.history:
            raise WriteLost(
                "the server that this session has read from is gone, and the primary was replaced "
                "meanwhile: what was read may be lost. Start a new session"
            )
        self._located(transaction, at)

    def _locate_at(self, transaction: Transaction, server: Server) -> bool:
        try:
            at = self._sample(transaction, server)
        except CANNOT_CONNECT as error:
            if server is transaction.server and isinstance(error, DBAPIError):
                read_on(error, transaction, self._memory, self._cluster)
            return False
        except PoolTimeout:
            if server.role == "primary":
                raise
            return False
        if at is not None:
            self._located(transaction, at)
        return at is not None

    def note(self, transaction: Transaction) -> None:
        """Keep what is known, without I/O, of where a transaction has read that ends now."""
        if self._memory.unlocated is transaction.server:
            self._memory.noted = self._noted(transaction)

    def _noted(self, transaction: Transaction) -> Bookmark | None:
        connection = transaction.connection
        if connection is None or transaction.writer is not None or transaction.streams:
            return None  # more was read than by the latest statement of this connection
        return self._cluster.backend.noted(connection)

    def _located(self, transaction: Transaction, at: Bookmark) -> None:
        memory, epoch = self._memory, self._cluster.epoch
        memory.located(at)
        if epoch.is_of(at.history) and (epoch.is_before(at) or epoch.lost(at) is not None):
            memory.doubt()
        if transaction.writer is not None:
            # Its COMMIT is still to come.
            memory.reads(self._cluster.primary, "", epoch.number)
        elif transaction.lent and not transaction.read_only and transaction.server is not None:
            memory.reads_on(transaction.server)

    def _sample(self, transaction: Transaction, server: Server) -> Bookmark | None:
        """An upper bound of what was read on a server; None if that incarnation is gone."""
        cluster, memory = self._cluster, self._memory
        backend = cluster.backend
        if transaction.server is server and transaction.connection is not None:
            # Its pool may have no second one to give.
            return self._noted(transaction) or self._seen(server, transaction.connection)
        same = memory.read_epoch == cluster.epoch.number
        writer = transaction.writer
        if same and server.role == "primary" and writer is not None and writer.in_transaction():
            # The sessions that hold its reading connections may wait for this writer.
            return backend.seen(writer)
        with server.engine.sync_engine.connect() as connection:
            if server.shared:
                server.ask(connection)  # the address leads to one of several
            same = backend.incarnation(connection) == memory.incarnation
            if (
                not same
                and server.role == "primary"
                and cluster.leads_to_primary(server, connection)
            ):
                same = memory.read_epoch == cluster.epoch.number
            return self._seen(server, connection) if same else None

    def _seen(self, server: Server, connection: Connection) -> Bookmark | None:
        at = self._cluster.backend.seen(connection)
        server.heard(connection)
        return at

    # Checking ----------------------------------------------------------------------------------

    def is_checked(self) -> bool:
        """Whether the primary is known to have all that the session has seen."""
        return self._memory.checked_epoch == self._cluster.epoch.number

    def check(self, transaction: Transaction) -> Literal["has it", "unknown", "start over"]:
        """Ask whether the primary has all that the session has seen.

        Returns:
            ``"has it"``; ``"unknown"`` if the primary cannot be asked now: a replica may still
            serve; ``"start over"`` if the bookmark that the session started from is ahead of the
            primary, and was dropped.

        Raises:
            ConfigurationError: the primary keeps no position any more.
            NoPrimary: the primary that has it was not found.
            WriteLost: no primary will ever have it.
        """
        memory, cluster, rules = self._memory, self._cluster, self._rules
        before, looked = memory.checked_epoch, False
        while True:
            epoch, primary = cluster.epoch.number, cluster.primary
            if memory.unlocated is not None and memory.read_epoch != epoch:
                self.locate(transaction)  # it was read before the primary was replaced
            if not primary.covers(memory.bookmark) and not self._ask(primary):
                return "unknown"
            if epoch != cluster.epoch.number:
                continue
            at = primary.knowledge.at
            if at is None:
                raise ConfigurationError(_NO_POSITION)
            same = at.history == memory.bookmark.history
            lost = cluster.roles.lost(at, memory.bookmark) if same else None
            if lost is not None:
                raise WriteLost(
                    f"the bookmark names writes that the database does not have: {lost}"
                )
            later = same and cluster.roles.is_later(memory.bookmark, at)
            if not later or looked:
                break
            looked = True
            await_(cluster.watcher.wait(memory.bookmark, cluster.replicas, rules.max_wait))
        if at.covers(memory.bookmark):
            memory.checked_epoch = epoch
            memory.proved(cluster.roles)
            return "has it"
        believed = before is not None or memory.is_ahead_of(at)
        if believed or rules.keys or rules.stray_bookmarks == "error":
            if later:
                raise NoPrimary("the primary was replaced by one that has not been found yet")
            raise WriteLost(
                "the bookmark names writes that the primary does not have: it was restored to an "
                "earlier state, or the bookmark was not handed out by it"
            )
        memory.checked_epoch = epoch
        memory.start_over(cluster.roles.as_need(at))
        return "start over"

    def _ask(self, primary: Server) -> bool:
        """Ask the primary for its position; returns whether it has answered."""
        cluster = self._cluster
        try:
            with primary.engine.sync_engine.connect() as connection:
                primary.ask(connection)
                at = cluster.backend.seen(connection)
                # A standby's answer, if it is one by now, would be an upper bound, and no proof.
                if at is not None and cluster.leads_to_primary(primary, connection):
                    primary.advance(at)
        except CANNOT_CONNECT:
            return False
        return primary.knowledge.error is None
