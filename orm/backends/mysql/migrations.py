"""Migrations of MariaDB and MySQL (`orm.backends.Migrations`).

DDL commits there, so that a journal says what of a revision was done.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, MetaData, text
from sqlalchemy.exc import DBAPIError

from orm.backends.labels import relabelling
from orm.backends.migration_parts import Costs, Journal
from orm.backends.migrations import Migrations, Write
from orm.backends.mysql import costs
from orm.backends.mysql.beyond_models import beyond_models
from orm.backends.mysql.broken import broken
from orm.backends.mysql.definitions import definitions, tables_of
from orm.backends.mysql.driver import code
from orm.backends.mysql.explain import explain, rows_ahead
from orm.backends.mysql.journal import TABLE as JOURNAL
from orm.backends.mysql.journal import journal as its_journal
from orm.backends.mysql.migrating import holds_lock, locked, migrating
from orm.backends.mysql.scratch import scratch
from orm.backends.mysql.state import latest
from orm.backends.mysql.sync import sync_engine
from orm.backends.mysql.terms import TABLE as HISTORY
from orm.backends.mysql.tokens import LEXER
from orm.backends.things import Thing
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = ["MySQLMigrations"]

_NOT_UNDERSTOOD: Final = frozenset(
    {
        1064,  # syntax
        1115,  # no such character set
        1235,  # not supported yet
        1273,  # no such collation
        1305,  # no such function
        4161,  # no such type (MariaDB)
    }
)
_WHOLE_SECONDS: Final = re.compile(r"(?:datetime|timestamp|time)\b(?!\()")
_NO_SAVEPOINT: Final = 1305


_numbers: Final = count()


class MySQLMigrations(Migrations):
    """MariaDB and MySQL, whose DDL commits: a journal says what of a revision was done."""

    reserved_tables: frozenset[str] = frozenset({HISTORY, JOURNAL})
    all_ddl_is_transactional = True  # with the journal there is nothing to leave a transaction for
    shares_names = True  # a foreign key, and on MySQL a CHECK, is named in the database
    lexer = LEXER

    costs: Costs | None = staticmethod(costs.costs)
    journal: Journal | None = its_journal

    def prepare_alembic(self) -> None:
        """Have Alembic rename columns alone, and see labels of enums that rows have."""
        import orm.backends.mysql.altering  # noqa: F401 - Alembic finds by itself what it defines

    def engine(self, url: URL, **options: Any) -> Engine:
        """An engine of PyMySQL: migrations need no event loop."""
        return sync_engine(url, **options)

    def is_not_understood(self, error: DBAPIError) -> bool:
        """A syntax error, or a function, type or collation that does not exist."""
        return code(error) in _NOT_UNDERSTOOD

    def is_generated_name(self, name: str) -> bool:
        """Whether it is a number with words before it: ``users_chk_1``, ``users_ibfk_1``.

        A UNIQUE constraint without a name has that of its first column, which a name that was
        chosen may have, too.
        """
        stem, _, number = name.rpartition("_")
        return number.isdecimal() and stem.endswith(("_chk", "_ibfk", "CONSTRAINT"))

    def prepare_scratch(
        self, connection: Connection, schemas: Collection[str], like: Mapping[Thing, str]
    ) -> None:
        """Nothing: there are no extensions.

        Raises:
            MigrationError: the models name schemas, which are other databases of the server.
        """
        if schemas:
            raise MigrationError(
                f"the models name the schema {min(schemas)!r}, which is another database on "
                "MariaDB and MySQL: a revision changes one database. Leave schema= out"
            )

    def surprises(self, new: Mapping[Thing, str]) -> Sequence[str]:
        """Time stamps without fractions of a second."""
        whole = [
            f"{thing.table}.{thing.name}"
            for thing, said in new.items()
            if thing.kind == "column" and _WHOLE_SECONDS.match(said)
        ]
        if not whole:
            return ()
        return [
            f"{', '.join(sorted(whole))}: MariaDB cuts fractions of a second off, and MySQL rounds "
            'them. To keep them: DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", '
            '"mariadb"), from sqlalchemy.dialects import mysql'
        ]

    def adapted(
        self,
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """Those of Alembic; None if a column would lose values, which Alembic does not ask."""
        from orm.backends.mysql.relabelling import in_two_steps
        from orm.backends.mysql.writing import loses_values

        return None if loses_values(*both, models) else list(in_two_steps(operations))

    def operations_for(
        self,
        left: Mapping[Thing, tuple[str | None, str | None]],
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """The whole way, in place of Alembic's, which fail or do not do.

        What would lose values without an error is left to be written by hand.
        """
        from sqlalchemy.dialects.mysql import dialect

        from orm.backends.mysql.writing import Plan

        return [*relabelling(operations, dialect()), *Plan(*both, models).operations()]

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        """The GTIDs that the server has, up to which its log can be applied to a backup."""
        quote = connection.dialect.identifier_preparer.quote_identifier
        with connection.begin():
            kinds = tables_of(connection)
            tables = {name for name, kind in kinds.items() if kind != "VIEW"} - without
            asked = (f"SELECT EXISTS (SELECT 1 FROM {quote(table)})" for table in sorted(tables))
            if not any(connection.exec_driver_sql(statement).scalar() for statement in asked):
                return None
            mariadb = latest(connection).mariadb
            gtids = "@@gtid_current_pos" if mariadb else "@@global.gtid_executed"
            at, when = connection.execute(text(f"SELECT {gtids}, UTC_TIMESTAMP(3)")).one()
        return (
            f"{''.join(str(at).split())} at {str(when)[:23]} UTC (to go back: restore a backup, "
            "and apply the log to it up to there)"
        )

    @contextmanager
    def begin_anew(
        self, url: URL, suits: Callable[[URL], bool]
    ) -> Iterator[tuple[URL, str | None]]:
        """Drop the database, and make it again; a place in the log is no restore point here.

        Raises:
            MigrationError: the account may not.
        """
        made = sync_engine(url)
        try:
            with made.connect() as connection, locked(connection, 0):
                quote = connection.dialect.identifier_preparer.quote_identifier
                name = quote(str(url.database))
                like = text("SELECT @@character_set_database, @@collation_database")
                charset, collation = connection.execute(like).one()
                connection.exec_driver_sql(f"DROP DATABASE {name}")
                connection.exec_driver_sql(
                    f"CREATE DATABASE {name} CHARACTER SET {charset} COLLATE {collation}"
                )
        except DBAPIError as error:
            raise MigrationError(f"the database cannot be emptied: {error.orig}") from error
        finally:
            made.dispose()
        yield url, None

    def watch_transaction(self, connection: Connection) -> Callable[[], bool]:
        """By a savepoint, which ends with its transaction."""
        name = f"orm_{next(_numbers)}"
        connection.exec_driver_sql(f"SAVEPOINT {name}")

        def is_the_same() -> bool:
            try:
                connection.exec_driver_sql(f"RELEASE SAVEPOINT {name}")
            except DBAPIError as error:
                if code(error) == _NO_SAVEPOINT:
                    return False
                raise
            connection.exec_driver_sql(f"SAVEPOINT {name}")
            return True

        return is_the_same

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        """See that the lock is still held, and make the last writes.

        Raises:
            MigrationError: the lock is gone.
        """
        if not holds_lock(connection):
            raise MigrationError(
                "the lock that keeps others from migrating is gone: the revision lets go of all "
                "locks (RELEASE_ALL_LOCKS), or there is a proxy in between that gives each "
                "transaction another connection: migrate past it, on the server itself"
            )
        for statement, values in writes:
            connection.execute(statement.values(values))

    def broken(self, connection: Connection) -> Collection[str]:
        return broken(connection)

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    def beyond_models(self, connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
        return beyond_models(connection)

    def rows_ahead(self, connection: Connection, statements: Iterable[str]) -> str | None:
        if its_journal.half_done(connection):
            return None  # what was done is not done again
        return rows_ahead(connection, statements)

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        return explain(connection, error)

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        return migrating(connection, patience)

    def scratch(self, url: URL, *, beside: bool = False) -> AbstractContextManager[Connection]:
        return scratch(url, beside=beside)
