"""What the library asks of a database engine: one small protocol, one file per family."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.bookmark import Bookmark

__all__ = ["Backend", "FileCopy"]


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A replica that is kept up to date by copying a database file (`orm.replication`)."""

    source: Path
    replica: Path
    url: URL
    """Where readers open the replica."""


class Backend(Protocol):
    """An engine family. Implementations are found through the entry point group ``orm.backends``.

    The methods that take a `Connection` run inside SQLAlchemy's greenlet and may do I/O on
    exactly that connection; none of them opens another one.
    """

    reserved_tables: frozenset[str]
    """Tables of the library's own, which no migration compares."""

    def writer_engine(self, url: URL, **options: Any) -> AsyncEngine:
        """The engine for transactions that may write, on the primary."""
        ...

    def reader_engine(self, url: URL, **options: Any) -> AsyncEngine:
        """A read-only engine in autocommit, on the primary or a replica."""
        ...

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        """Over the pool of a reader engine, one whose transactions are repeatable reads."""
        ...

    def migration_engine(self, url: URL, **options: Any) -> AsyncEngine:
        """The engine for schema changes: each transaction is atomic, DDL included."""
        ...

    def prepare(self, connection: Connection) -> None:
        """Create on the primary what positions are kept in, if it is not there yet."""
        ...

    def faults(self, connection: Connection) -> Counter[str]:
        """What in the data breaks the schema's rules, as in the open transaction, row by row."""
        ...

    def verify(self, connection: Connection, known: Counter[str] | None = None) -> None:
        """Raise `MigrationError` if the open transaction must not be committed.

        Args:
            connection: in a transaction.
            known: `faults` that were there before it, and for which it is not to blame.
        """
        ...

    def restore_point(self, url: URL, name: str, without: frozenset[str]) -> str | None:
        """Keep what is needed to go back to how the database is now.

        Args:
            url: the database.
            name: what it is before, such as a revision.
            without: tables whose rows do not count as data.

        Returns:
            Where it is and how to go back; None if there is no data to go back to.

        Raises:
            MigrationError: none could be made; nothing was changed.
        """
        ...

    def incarnation(self, connection: Connection) -> str:
        """Which physical server, since which start, this connection leads to. No I/O."""
        ...

    def position(self, connection: Connection) -> Bookmark | None:
        """A lower bound of what any later statement here will see; None if it has no history."""
        ...

    def seen(self, connection: Connection) -> Bookmark | None:
        """An upper bound of all that was read on this server so far."""
        ...

    def committed(self, connection: Connection) -> Bookmark | None:
        """The position of the commit that has just succeeded here; None if nothing was written."""
        ...

    def is_unavailable(self, error: DBAPIError) -> bool:
        """Whether the error says that this server cannot serve, rather than the statement."""
        ...

    def is_damaged(self, error: DBAPIError) -> bool:
        """Whether the error says that the server's data is unreadable."""
        ...

    def is_read_only(self, error: DBAPIError) -> bool:
        """Whether the error says that a write met a read-only server."""
        ...

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        """The `count` embedded replicas of a primary that is a file.

        Raises:
            ConfigurationError: this primary is no file, or the engine brings its own replication.
        """
        ...
