"""What the library asks of a database engine: one small protocol, one file per family."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import URL, Connection, Engine, Insert, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.bookmark import Bookmark

__all__ = ["Backend", "FileCopy", "Thing", "Write"]


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A replica that the backend itself keeps up to date, by copying a database file."""

    source: Path
    replica: Path
    url: URL
    """Where readers open the replica."""


class Thing(NamedTuple):
    """Something that is defined in a database; as text a phrase such as ``column users.email``.

    Attributes:
        kind: in the engine's word for it: ``table``, ``column``, ``index``, ``trigger`` …
        table: the table that it belongs to; of a table or a view its own name.
        name: its name; what it is defined as, if it has none.
    """

    kind: str
    table: str
    name: str

    def __str__(self) -> str:
        if self.name == self.table:
            return f"{self.kind} {self.name}"
        if self.kind == "column":
            return f"column {self.table}.{self.name}"
        return f"{self.kind} {self.name} of {self.table}"


Write = tuple[Insert | Update, Mapping[str, Any]]
"""A statement without values, and those of its columns."""


class Backend(Protocol):
    """An engine family. Implementations are found through the entry point group ``orm.backends``.

    The methods that take a `Connection` run inside SQLAlchemy's greenlet and may do I/O on
    exactly that connection; none of them but `migrating` opens another one.
    """

    reserved_tables: frozenset[str]
    """Tables of the library's own, which no migration compares."""

    all_ddl_is_transactional: bool
    """Whether every statement can run in a transaction; Alembic's ``autocommit_block``, which other
    engines need in the same revision files, then leaves the transaction alone."""

    new_columns_need_constants: bool
    """Whether a column that is added to a table with rows can have no default but a constant."""

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        """The engine for transactions that may write, on the primary.

        Args and raises: as `reader_engine`. `committed` is not asked of shared connections.
        """
        ...

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        """A read-only engine, on the primary or a replica.

        Args:
            url: of the server.
            shared: whether each transaction may be on another connection of the server's, or on
                another server. It then has transactions whose every statement sees what is
                committed when it begins; otherwise it is in autocommit.
            options: of the user's, for the engine.

        Raises:
            ConfigurationError: this engine's connections are never shared.
        """
        ...

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        """Over the pool of a reader engine, one whose transactions are repeatable reads."""
        ...

    def migration_engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        """The engine for schema changes: each transaction is atomic, DDL included.

        It need not be asynchronous: migrations are one statement after the other.
        """
        ...

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        """For the length of the block nobody else migrates, and a table rebuild loses no rows.

        Waits for whoever migrates now; what another process holds is freed when it dies. A
        transaction that is open already is its owner's affair: nothing is waited for in it.

        Args:
            connection: the migration's.
            patience: seconds to wait.

        Raises:
            ConfigurationError: the connection was handed in by somebody, and cannot be made fit.
            MigrationError: somebody else still migrates; or nobody can on it, now or ever.
        """
        ...

    def is_absent(self, url: URL) -> bool:
        """Whether the database is not there yet, and will be made by who first writes to it."""
        ...

    def prepare(self, connection: Connection) -> None:
        """Create on the primary what positions are kept in, if it is not there yet."""
        ...

    def faults(self, connection: Connection) -> Counter[str]:
        """What breaks the schema's rules, as in the open transaction: each row, each index."""
        ...

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        """See that the open transaction may be committed, and make its last writes.

        Args:
            connection: in a transaction.
            known: `faults` that were there before it, and for which it is not to blame.
            writes: to different tables, which no revision touches. They are best made in the same
                round trip; in a transaction that must not be committed they may be left undone.

        Raises:
            MigrationError: it must not be committed.
        """
        ...

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        """What the engine knows of an error besides its message, such as who held a lock.

        Args:
            connection: on which the statement was rolled back.
            error: what it failed with.

        Returns:
            Sentences for people.
        """
        ...

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        """Keep what is needed to go back to how the database is now.

        Args:
            connection: to the database, in no transaction.
            name: what it is before, such as a revision.
            without: tables whose rows do not count as data.

        Returns:
            Where it is and how to go back; None if there is no data to go back to.

        Raises:
            MigrationError: none could be made; nothing was changed.
        """
        ...

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        """How the database is defined, in a form in which two can be compared.

        Returns:
            The engine's words for each thing. The tables of the library and of Alembic are among
            them.
        """
        ...

    def scratch(self, url: URL) -> AbstractContextManager[Connection]:
        """An empty database of this engine, which is gone after the block.

        Args:
            url: where it may be made, if it cannot be made anywhere; what is there is not touched.

        Raises:
            ConfigurationError: a driver is missing.
            MigrationError: the account may not make one.
        """
        ...

    def lint(self, sql: str) -> Sequence[str] | None:
        """What a linter of the engine's migrations says to a script.

        Returns:
            A sentence for each finding; None if the linter is not installed.
        """
        ...

    def incarnation(self, connection: Connection) -> str:
        """Which physical server, since which start, this connection leads to. No I/O."""
        ...

    def is_idle(self, connection: Connection) -> bool:
        """Whether a reader engine's connection has nothing to undo before others use it. No I/O."""
        ...

    def position(self, connection: Connection) -> Bookmark | None:
        """A lower bound of what any later statement here will see; None if it has no history."""
        ...

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        """Have a replica wait until it has `need`, in one statement that it answers then.

        It need not be certain: `position` is asked after it, and that alone is believed.

        Args:
            connection: in autocommit, on which `position` has been asked before.
            need: what somebody waits for.
            seconds: after which it answers in any case.

        Returns:
            Whether it has waited for as long as it took. False at once where it cannot: this
            incarnation is not asked to again.
        """
        ...

    def seen(self, connection: Connection) -> Bookmark | None:
        """An upper bound of all that was read on this server so far.

        On a replica of an engine that `has_fences` it says what was `shown`.
        """
        ...

    def written(self, connection: Connection) -> Bookmark | None:
        """On the primary: an upper bound of all that any server has shown so far."""
        ...

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        """The position of the commit that has just succeeded here.

        It covers what the transaction has read, too. If asking for it fails, or is cancelled, the
        write stands, and is located later.

        Args:
            connection: which has committed.
            wrote: whether the transaction is known to have changed rows.

        Returns:
            None if nothing was written, or the position could not be learnt.
        """
        ...

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        """Why a server that is at `head` will never have all of `need`.

        Both are of one history. None if it may have it later, for all that the two tell.
        """
        ...

    def as_need(self, at: Bookmark) -> Bookmark:
        """The position of a primary as what sessions need, which bookmarks name from then on.

        Whoever has it has all of `at`. No more than that has to be named.
        """
        ...

    unit: str
    """What positions count, in the plural: ``"commits"``, ``"bytes"``."""

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        """How much a server that is at `at` lacks of `head`; None if they are of two histories."""
        ...

    def replayed(self, connection: Connection) -> float | None:
        """Seconds since the latest commit that a replica shows, as of the last `position` there.

        None if the engine does not tell. No I/O.
        """
        ...

    has_fences: bool
    """Whether a replica may show a commit before the primary does."""

    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        """The transactions that a replica may have shown, and the primary does not show yet.

        Args:
            connection: to the primary.
            shown: of a `Bookmark`.
        """
        ...

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        """Those of them that the replica does show by now; the others are still under way."""
        ...

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        """Those of them that, for all the primary can tell, have committed and wait to be shown.

        A commit that waits for nothing is shown at once, and need not be among them.
        """
        ...

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        """Whether a primary at `at` was made one after the primary at `than` was."""
        ...

    def is_standby(self, connection: Connection) -> bool | None:
        """Whether `position` has last been answered by a replica, whatever the server was thought
        to be; None if the engine's servers do not know. No I/O.
        """
        ...

    def is_unavailable(self, error: DBAPIError) -> bool:
        """Whether the error says that this server cannot serve, rather than the statement."""
        ...

    def is_unreachable(self, error: Exception) -> bool:
        """Whether the error says that a server may well be away, rather than named wrongly."""
        ...

    def is_damaged(self, error: DBAPIError) -> bool:
        """Whether the error says that the server's data is unreadable."""
        ...

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        """Whether a read that failed may be sent again on its connection as it is.

        It may if it failed by what the connection kept of an earlier schema, and that is gone now.

        Args:
            connection: a reader's.
            error: what a statement on it failed with.
        """
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
