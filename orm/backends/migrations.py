"""The optional part of a backend that changes schemas: what migrations ask of an engine."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, Insert, MetaData, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.migration_parts import Costs, Journal, Scripting
from orm.backends.things import Thing
from orm.backends.tokens import STANDARD, Lexer

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = ["Migrations", "Write"]

Write = tuple[Insert | Update, Mapping[str, Any]]
"""A statement without values, and those of its columns."""


class Migrations(ABC):
    """Changes the schema of an engine's databases, describes it, and keeps it whole.

    The methods that take a `Connection` run inside SQLAlchemy's greenlet, or on a synchronous
    connection of `engine`. None of them but `migrating` opens another connection.
    """

    reserved_tables: frozenset[str] = frozenset()
    """Tables of the library's own, which no migration compares."""

    all_ddl_is_transactional: bool = True
    """Whether every statement can run in a transaction; Alembic's ``autocommit_block``, which other
    engines need in the same revision files, then leaves the transaction alone."""

    new_columns_need_constants: bool = False
    """Whether a column that is added to a table with rows can have no default but a constant."""

    shares_names: bool = True
    """Whether a constraint, or a sequence, can stand in the way of another table's by its name."""

    script: Scripting | None = None
    """Takes down what is executed in a block, as a script that does the same elsewhere.

    None where Alembic's operations read no table, so that Alembic writes scripts without a
    database. A rebuild of a table reads it: its SQL is known only from a replay.

    The first argument is a connection to a `scratch` database, in no transaction, on which a
    revision is replayed within the block. The second one has the tables whose statements are
    left out. The block gets a function that returns the `Script` after the replay. Both raise
    `NotAScript` where there is none, because the revision looks at rows, for example.
    """

    journal: Journal | None = None
    """Keeps account of what of a revision was done; None where a transaction takes DDL back."""

    costs: Costs | None = None
    """Learns what the changes of tables cost that are executed in a block.

    The argument is a connection to a `scratch` database, with tables without rows. None where
    the engine does not say it.
    """

    scratch_can_lack: bool = False
    """Whether a `scratch` database can lack what one has that is made ``beside`` another."""

    lexer: Lexer = STANDARD
    """Takes the engine's SQL apart."""

    has_linter: bool = False
    """Whether there is a linter of the engine's migrations: without one, no SQL is rendered."""

    def prepare_alembic(self) -> None:  # noqa: B027 - a default, not abstract
        """Have Alembic use what the engine needs of its own, such as its rebuilds of tables.

        Called in ``env.py``, before Alembic makes a context.
        """

    @abstractmethod
    def engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        """The engine for schema changes: each transaction is atomic; DDL too, without a `journal`.

        It need not be asynchronous: migrations are one statement after the other.
        """

    @abstractmethod
    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        """For the length of the block no other process migrates, and a table rebuild loses no rows.

        Waits for a process that migrates now; the lock of a process that dies is freed. In a
        transaction that is open already it does not wait.

        Args:
            connection: the migration's.
            patience: seconds to wait.

        Raises:
            ConfigurationError: the caller has handed the connection in, and it cannot be used so.
            MigrationError: another process still migrates; or this server cannot be migrated.
        """

    def is_absent(self, url: URL) -> bool:
        """Whether the database does not exist yet; the first connection that writes makes it."""
        return False

    @abstractmethod
    def watch_transaction(self, connection: Connection) -> Callable[[], bool]:
        """Remember which transaction is open.

        Args:
            connection: in a transaction that may write.

        Returns:
            Whether that same transaction is still open, when it is called.
        """

    def faults(self, connection: Connection) -> Counter[str]:
        """The rows and indexes that break the schema's rules, as the open transaction sees them."""
        return Counter()

    @abstractmethod
    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        """Check that the open transaction may be committed, and make its last writes.

        Args:
            connection: in a transaction.
            known: `faults` that were there before it, and for which it is not to blame.
            writes: to different tables, which no revision touches. They are best made in the same
                round trip; in a transaction that must not be committed they may be left undone.

        Raises:
            MigrationError: it must not be committed.
        """

    def rows_ahead(self, connection: Connection, statements: Iterable[str]) -> str | None:
        """The first rows that will make a statement fail after others have committed.

        Args:
            connection: to the database, in no transaction or one that has only read. It is rolled
                back.
            statements: what will be executed, in its order.

        Returns:
            A sentence without a full stop; None if no such rows are known, and on an engine that
            takes back what was done.
        """
        return None

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        """What the engine knows of an error besides its message, such as the holder of a lock.

        Args:
            connection: on which the statement was rolled back.
            error: what it failed with.

        Returns:
            Sentences for people.
        """
        return ()

    @abstractmethod
    def is_not_understood(self, error: DBAPIError) -> bool:
        """Whether a statement says what the engine does not have, and another one may.

        Such as the syntax, a function or a type of another engine; and not a missing table.
        """

    def runs_alone(self, error: DBAPIError) -> bool:
        """Whether a statement failed for the only reason that it cannot run in a transaction.

        Alembic's ``autocommit_block`` is the place for it.
        """
        return False

    @abstractmethod
    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        """Keep what is needed to bring the database back to its present state.

        Args:
            connection: to the database, in no transaction.
            name: what it is before, such as a revision.
            without: tables whose rows do not count as data.

        Returns:
            Where it is and how to go back; None if there is no data to go back to.

        Raises:
            MigrationError: none could be made; nothing was changed.
        """

    @abstractmethod
    def begin_anew(
        self, url: URL, suits: Callable[[URL], bool]
    ) -> AbstractContextManager[tuple[URL, str | None]]:
        """Take all that is in a database away: for a database of a checkout, and no other one.

        An engine that can make the new database beside the old one does so. Then the new one takes
        its place at the end of the block, and the old one stays as it was if the block fails.

        Args:
            url: of the database, which no program uses.
            suits: whether the database may become what a restore point is, by the URL of that.

        Yields:
            Where the new database is, to apply the revisions to; and the restore point that it
            begins with, None if it is empty, or absent.

        Raises:
            MigrationError: another process migrates it, or it cannot be emptied.
        """

    @abstractmethod
    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        """The definitions of a database, in a form in which two databases can be compared.

        Returns:
            The engine's words for each thing. The tables of the library and of Alembic are among
            them.

        Raises:
            MigrationError: the account may not see how one of them is defined.
        """

    @abstractmethod
    def broken(self, connection: Connection) -> Collection[str]:
        """Views, triggers and the like that name something that is not there, and so do not work.

        Args:
            connection: to a `scratch` database, in no transaction; what is done there is undone.

        Returns:
            What each one is, and in parentheses what the engine says of it:
            ``view adults (no such column: age)``.
        """

    @abstractmethod
    def scratch(self, url: URL, *, beside: bool = False) -> AbstractContextManager[Connection]:
        """An empty database of this engine, which is gone after the block.

        Args:
            url: a database of the engine, beside which it is made if the engine needs one, or a
                scratch database; it stays as it is.
            beside: whether it has all that the server of that database has, such as its version,
                roles and extensions.

        Raises:
            ConfigurationError: a driver is missing.
            MigrationError: the account may not make one.
        """

    def prepare_scratch(  # noqa: B027 - a default, not abstract
        self, connection: Connection, schemas: Collection[str], like: Mapping[Thing, str]
    ) -> None:
        """Create in an empty database what tables need and ``create_all`` does not make.

        Args:
            connection: to a `scratch` database.
            schemas: the schemas that the models name.
            like: the `definitions` of a database that has the rest, such as extensions.
        """

    def surprises(self, new: Mapping[Thing, str]) -> Sequence[str]:
        """What the engine does with a model that says the same elsewhere and means more there.

        Args:
            new: `definitions` of things that a revision makes.

        Returns:
            Sentences for people.
        """
        return ()

    @abstractmethod
    def beyond_models(self, connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
        """Statements that make what a database has and no model makes, such as views and triggers.

        What they do not make, a comparison of `definitions` finds.

        Returns:
            Those to be run before the tables are made, and those for after it.
        """

    def is_generated_name(self, name: str) -> bool:
        """Whether the engine gives such a name to a constraint that has none of its own."""
        return False

    def adapted(
        self,
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """What Alembic finds, with what it needs on this engine and does not find.

        Args:
            operations: what autogenerate found.
            both: the `definitions` that there are, and those that there are to be.
            models: the models.

        Returns:
            Operations that are worth a try: a replay shows whether they do. None if they would
            fail, or change values, where there are rows.
        """
        return operations

    def operations_for(
        self,
        left: Mapping[Thing, tuple[str | None, str | None]],
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """What a new revision does on this engine, where what Alembic finds does not do.

        Args:
            left: the things that differ after `operations`, or before them if they do not run: how
                the revisions, and how the models define each; None where it is not.
            operations: what the revision does so far; what autogenerate found, if `adapted` gave
                none.
            both: the `definitions` that there are before it, and those that there are to be.
            models: the models.

        Returns:
            All operations of the revision; None if the engine knows no better ones.
        """
        return None

    def lint(self, sql: str) -> Sequence[str] | None:
        """Run a linter of the engine's migrations on a script.

        Returns:
            A sentence for each finding; None if the linter is not installed.
        """
        return ()
