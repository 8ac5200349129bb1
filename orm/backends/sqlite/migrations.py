"""Migrations of SQLite (`orm.backends.Migrations`)."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, MetaData, StaticPool, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.migration_parts import Scripting
from orm.backends.migrations import Migrations, Write
from orm.backends.sqlite import recording
from orm.backends.sqlite.anew import replaced
from orm.backends.sqlite.broken import broken
from orm.backends.sqlite.dangling import dangling, summary
from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.engines import is_absent, migration_engine
from orm.backends.sqlite.files import file_at, file_of
from orm.backends.sqlite.migrating import locked, migrating
from orm.backends.sqlite.pragmas import do, says
from orm.backends.sqlite.snapshot import KEPT, snapshot
from orm.backends.sqlite.tokens import LEXER
from orm.backends.sqlite.writing import write
from orm.backends.things import Thing
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = ["SQLiteMigrations"]

_NOT_UNDERSTOOD: Final = re.compile(
    "syntax error|no such (function|module|collation)|unrecognized token|not supported"
)


class SQLiteMigrations(Migrations):
    """SQLite, whose tables are rebuilt."""

    # The last ones are of Cloudflare's D1 and of wrangler, its tool.
    reserved_tables: frozenset[str] = frozenset(
        {"orm_position", "d1_migrations", "_cf_ALARM", "_cf_KV", "_cf_METADATA"}
    )
    all_ddl_is_transactional = True
    new_columns_need_constants = True
    shares_names = False
    lexer = LEXER
    script: Scripting | None = staticmethod(recording.script)

    def prepare_alembic(self) -> None:
        """Have Alembic rebuild tables without losses."""
        import orm.backends.sqlite.altering  # noqa: F401 - Alembic finds by itself what it defines

    def watch_transaction(self, connection: Connection) -> Callable[[], bool]:
        """By a setting that lasts for a transaction, and has no effect where foreign keys are off.

        SQLite switches it off at each COMMIT and ROLLBACK ("PRAGMA defer_foreign_keys").
        """
        do(connection, "PRAGMA defer_foreign_keys = ON")
        return lambda: says(connection, "PRAGMA defer_foreign_keys")

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        """See that no new foreign key leads nowhere, and make the last writes.

        Raises:
            MigrationError: one does.
        """
        found = dangling(connection) - known
        if found:
            raise MigrationError(
                f"{found.total()} foreign key(s) would be left without their parent row: "
                f"{summary(found)}. Delete or update these rows in the same revision"
            )
        for statement, values in writes:
            write(connection, statement, values)

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        """What to do with rows that do not fit into the table that takes the place of theirs."""
        if "_alembic_tmp_" in (error.statement or "") and isinstance(error, IntegrityError):
            return ["Update or delete such rows in the same revision, before the table is rebuilt"]
        return ()

    def is_not_understood(self, error: DBAPIError) -> bool:
        """By its message, since SQLite has one code for all that is wrong with a statement."""
        return _NOT_UNDERSTOOD.search(str(error.orig)) is not None

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        """A copy of the file, and how to go back to it."""
        file = file_of(connection)
        copy = snapshot(file, name, without)
        if copy is None:
            return None
        return (
            f"{copy} (to go back: stop what uses {file.name}, delete {file.name}-wal and "
            f"{file.name}-shm, and move this file to {file.name}; the last {KEPT} restore points "
            "stay)"
        )

    @contextmanager
    def begin_anew(
        self, url: URL, suits: Callable[[URL], bool]
    ) -> Iterator[tuple[URL, str | None]]:
        """A file beside it, which begins as the latest restore point that suits, or empty."""
        file = file_at(url)
        with locked(file, patience=0), replaced(file, url, suits) as made:
            yield made

    @contextmanager
    def scratch(self, url: URL, *, beside: bool = False) -> Iterator[Connection]:
        """A database in memory."""
        engine = create_engine("sqlite://", poolclass=StaticPool)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def beyond_models(self, connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
        """Views, in the order in which they were made, and then triggers."""
        made = text(
            "SELECT sql FROM sqlite_master WHERE type IN ('view', 'trigger') "
            "ORDER BY type = 'trigger', rowid"
        )
        return (), connection.scalars(made).all()

    def operations_for(
        self,
        left: Mapping[Thing, tuple[str | None, str | None]],
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """Rebuilds to the models' own tables (`orm.backends.Migrations.operations_for`)."""
        from orm.backends.sqlite.rewriting import with_rebuilds

        return with_rebuilds(left, operations, models)

    def faults(self, connection: Connection) -> Counter[str]:
        return dangling(connection)

    def broken(self, connection: Connection) -> Collection[str]:
        return broken(connection)

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    def engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        return migration_engine(url, **options)

    def is_absent(self, url: URL) -> bool:
        return is_absent(url)

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        return migrating(connection, patience)
