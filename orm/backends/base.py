"""What the library asks of a database engine: `Backend`, and the optional parts of one.

A backend that only serves sessions gives the abstract methods of `Backend`, and stops there. What
else an engine has is a part of its own (`orm.backends.parts`, `orm.backends.migrations`); an engine
without it leaves the attribute None.
"""

from abc import ABC, abstractmethod
from typing import Any

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.migrations import Migrations
from orm.backends.parts import EmbeddedReplicas, Fences, Network, Roles
from orm.bookmark import Bookmark

__all__ = ["Backend"]


class Backend(ABC):
    """An engine family. Subclasses are found through the entry point group ``orm.backends``.

    The methods that take a `Connection` run inside SQLAlchemy's greenlet. They may do I/O on that
    connection. Only `position` and `caveat` may open another one, for part of a second.
    """

    # Optional parts --------------------------------------------------------------------------

    network: Network | None = None
    """How connections to a dead server are cut off; None where there is no server, but a file."""

    roles: Roles | None = None
    """How its servers change roles; None where the primary stays the primary."""

    fences: Fences | None = None
    """What its replicas show before the primary does; None where the primary is always newest."""

    embedded: EmbeddedReplicas | None = None
    """Replicas that the library keeps up to date; None where the engine replicates by itself."""

    migrations: Migrations | None = None
    """How its schema is changed; None where the library does not migrate it."""

    # Engines ---------------------------------------------------------------------------------

    @abstractmethod
    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        """The engine for transactions that may write, on the primary.

        Args:
            url: of the server.
            shared: whether each transaction may be on another connection of the server's, or on
                another server. `committed` is not asked of such connections.
            options: of the user's, for `create_async_engine`.

        Raises:
            ConfigurationError: this engine's connections are never shared.
        """

    @abstractmethod
    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        """A read-only engine, on the primary or a replica.

        The server itself refuses to write on its connections, which are in autocommit: each
        statement sees what is committed when it begins.

        Args:
            url: of the server.
            shared: whether each transaction may be on another connection of the server's, or on
                another server. The engine then has transactions instead of autocommit, and each of
                their statements sees what is committed when it begins.
            options: of the user's, for `create_async_engine`.

        Raises:
            ConfigurationError: this engine's connections are never shared.
        """

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        """An engine over the pool of a reader engine whose transactions are repeatable reads."""
        return reader.sync_engine.execution_options(isolation_level="REPEATABLE READ")

    def prepare(self, connection: Connection) -> None:  # noqa: B027 - a default, not abstract
        """Create the table on the primary that keeps positions, if the engine needs one.

        Args:
            connection: a writer's, in a transaction.
        """

    def is_idle(self, connection: Connection) -> bool:
        """Whether a reader's connection has nothing to undo before others use it. No I/O.

        False is always right; True saves a session that only read a task and a wait at its end.
        """
        return False

    # Positions -------------------------------------------------------------------------------

    @abstractmethod
    def incarnation(self, connection: Connection) -> str:
        """Which physical server, since which start, this connection leads to. No I/O."""

    @abstractmethod
    def position(self, connection: Connection) -> Bookmark | None:
        """A lower bound of what any later statement here will see.

        None where it cannot be learnt. Too high a position is a stale read.
        """

    @abstractmethod
    def seen(self, connection: Connection) -> Bookmark | None:
        """An upper bound of all that was read on this server so far.

        None where it cannot be learnt. Too low a position is a stale read. On a replica of an
        engine with `fences` it says what the replica has `shown`.
        """

    def noted(self, connection: Connection) -> Bookmark | None:
        """What `seen` says, where it was learnt along with the latest statement here. No I/O.

        None where it was not, and before the first statement since the pool has handed the
        connection out: other connections may have read more since. None of a connection that was
        closed or lost, too.
        """
        return None

    def reached(self, connection: Connection) -> Bookmark | None:
        """A lower bound, as `position` has it, that a replica told when it was last asked `seen`.

        So each read that is located tells where its replica is. None where the answer to `seen`
        does not tell that. No I/O.
        """
        return None

    def written(self, connection: Connection) -> Bookmark | None:
        """On the primary: an upper bound of all that any server has shown so far."""
        return self.seen(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        """The position of the commit that has just succeeded here.

        It covers what the transaction has read, too. If asking for it fails, or is cancelled, the
        write stands, and the session asks `seen` later.

        Args:
            connection: the one that has committed.
            wrote: whether the transaction is known to have changed rows.

        Returns:
            None if the transaction wrote nothing, or the position was not learnt.
        """
        return None

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        """Let a replica wait until it has `need`, in one statement that the replica answers then.

        The answer is no proof: `position` is asked after it, and that alone is believed.

        Args:
            connection: in autocommit; `position` was asked on it before.
            need: what a session waits for.
            seconds: the replica answers after that in any case.

        Returns:
            Whether it has waited for as long as it took. False at once where the server cannot
            wait: the same incarnation is not asked again.
        """
        return False

    # Positions for people --------------------------------------------------------------------

    unit: str = "commits"
    """What positions count, in the plural: ``"commits"``, ``"bytes"``."""

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        """How much a server at `at` lacks of `head`; None if the two are of different histories."""
        return at.behind(head)

    def place(self, at: Bookmark) -> str:
        """Where `at` is, as the engine's own tools write it: ``"commit 42"``."""
        unit = self.unit.removesuffix("s")
        return ", ".join(f"{unit} {number} {of}".rstrip() for of, number in at.position)

    def replayed(self, connection: Connection) -> float | None:
        """Seconds since the latest commit that a replica showed when `position` was last asked.

        None if the engine does not tell. No I/O.
        """
        return None

    def caveat(self, connection: Connection) -> str | None:
        """What cannot be promised with this account or this server, and what mends it.

        Asked once at each start, for the log; None if all is well.

        Args:
            connection: to the primary, which has told its position.
        """
        return None

    # Errors ----------------------------------------------------------------------------------

    @abstractmethod
    def is_read_only(self, error: DBAPIError) -> bool:
        """Whether the error says that a write met a read-only server or connection."""

    def is_retryable(self, error: DBAPIError) -> bool:
        """Whether the error comes from a conflict: the transaction may succeed the next time.

        Nothing of the transaction has been committed then, even if COMMIT failed with it.
        """
        return False

    def is_unavailable(self, error: DBAPIError) -> bool:
        """Whether the error says that this server cannot serve, rather than the statement."""
        return error.connection_invalidated

    def is_unreachable(self, error: Exception) -> bool:
        """Whether the error says that a server may be away, rather than named wrongly."""
        return isinstance(error, OSError)

    def is_damaged(self, error: DBAPIError) -> bool:
        """Whether the error says that the server's data is unreadable."""
        return False

    def is_missing(self, error: DBAPIError) -> bool:
        """Whether the error says that a table or a column does not exist here."""
        return False

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        """Whether a read that failed may be sent again on its connection as it is.

        It may if the connection had kept something of an earlier schema, such as a prepared
        statement, and this method has made the connection forget it.

        Args:
            connection: a reader's.
            error: what a statement on it failed with.
        """
        return False
