"""Migrations of PostgreSQL (`orm.backends.Migrations`)."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    MetaData,
    TextualSelect,
    Update,
    bindparam,
    column,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from orm.backends.labels import relabelling
from orm.backends.migrations import Migrations, Write
from orm.backends.postgresql.anew import begin_anew
from orm.backends.postgresql.beyond_models import beyond_models
from orm.backends.postgresql.broken import broken
from orm.backends.postgresql.definitions import definitions
from orm.backends.postgresql.driver import arguments, bounded, sqlstate, understood
from orm.backends.postgresql.explain import explain, is_of_a_view
from orm.backends.postgresql.invalid import INVALID, way_out
from orm.backends.postgresql.migrating import HOLDS, KEY, migrating
from orm.backends.postgresql.restore_point import restore_point
from orm.backends.postgresql.scratch import scratch
from orm.backends.postgresql.squawk import lint
from orm.backends.postgresql.sync import is_tuned, sync_url
from orm.backends.postgresql.tokens import LEXER
from orm.backends.things import Thing
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = ["PostgreSQLMigrations"]

_GENERATED: Final = re.compile(r"\w*_(pkey|fkey|key|check|excl)\d*")
_VERIFY: Final = text(f"""\
SELECT NULL AS index, NULL AS table
WHERE NOT EXISTS (SELECT FROM {HOLDS} AND l.pid = pg_backend_pid())
UNION ALL ({INVALID.text})""")
"""A row of nothing if the lock is gone, and `INVALID`: in one, since it is asked so often."""


# Each has its own text: DISCARD ALL takes away what the driver has prepared.
_THIS: Final = "SELECT pg_current_xact_id()::text AS this{}"
_STILL: Final = "SELECT pg_current_xact_id_if_assigned()::text AS still{}"
_numbers: Final = count()


class PostgreSQLMigrations(Migrations):
    """PostgreSQL."""

    all_ddl_is_transactional = False
    shares_names = True  # an index, and what has one, is named in the schema and not in its table
    scratch_can_lack = True
    has_linter = True
    lexer = LEXER

    def prepare_alembic(self) -> None:
        """Have Alembic see labels of enums that rows have."""
        import orm.backends.postgresql.altering  # noqa: F401 - Alembic finds by itself what it defines

    def prepare_scratch(
        self, connection: Connection, schemas: Collection[str], like: Mapping[Thing, str]
    ) -> None:
        """Create the schemas, and the extensions of the other database."""
        quote = connection.dialect.identifier_preparer.quote
        for schema in sorted(schemas):
            connection.execute(CreateSchema(schema, if_not_exists=True))
        for thing in like:
            if thing.kind == "extension":
                connection.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {quote(thing.name)}")

    def is_generated_name(self, name: str) -> bool:
        """Whether it is of the form ``table_column_key`` (PostgreSQL "ChooseIndexName")."""
        return _GENERATED.fullmatch(name) is not None

    def is_not_understood(self, error: DBAPIError) -> bool:
        """A syntax error, or a function or type that does not exist."""
        code = sqlstate(error)
        is_unknown = code in {"42601", "42883", "42704", "0A000"}
        return is_unknown and not is_of_a_view(code, error.statement or "")

    def runs_alone(self, error: DBAPIError) -> bool:
        """CREATE and DROP INDEX CONCURRENTLY, VACUUM, CREATE DATABASE and the like."""
        return sqlstate(error) == "25001"

    def adapted(
        self,
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """Those of Alembic, after the types and sequences that they need; None if one is unfit."""
        from orm.backends.postgresql.writing import Following, Plan, concurrently, is_enough, joined

        if not is_enough(operations, both):
            return None
        following = Following(*both)
        names = following.old, both[1]
        plan = Plan(*names, models)
        first, rest = concurrently(following.without(operations), names, models)
        return joined([first, following.statements(), *plan.before(), *rest, *plan.after()])

    def operations_for(
        self,
        left: Mapping[Thing, tuple[str | None, str | None]],
        operations: "Sequence[MigrateOperation]",
        both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
        models: MetaData,
    ) -> "Sequence[MigrateOperation] | None":
        """The whole way, in place of Alembic's, which fail or leave something in the way."""
        from orm.backends.postgresql.writing import DIALECT, Following, Plan, joined

        following = Following(*both)
        rest = Plan(following.old, both[1], models).operations()
        return joined([*relabelling(operations, DIALECT), following.statements(), *rest])

    def engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        """Make an engine of psycopg where it is installed: migrations need no event loop.

        Args:
            url: of the database.
            options: for SQLAlchemy's engine. With any, as with a parameter of the URL that only its
                own driver understands, that driver is used.
        """
        its_own = options or (is_tuned(url) and url.get_driver_name() != "psycopg")
        same = None if its_own else sync_url(url)
        options = {"poolclass": NullPool} | options
        if same is not None:
            made = create_engine(same, **arguments(same, bounded(same, options)))
            event.listen(made, "do_connect", _connect)
            return made
        url, options = understood(url, options)
        return create_async_engine(url, **arguments(url, bounded(url, options)))

    def watch_transaction(self, connection: Connection) -> Callable[[], bool]:
        """By the number that the server gives to a transaction that writes."""
        number = next(_numbers)
        this = connection.scalar(text(_THIS.format(number)))
        return lambda: connection.scalar(text(_STILL.format(number))) == this

    def faults(self, connection: Connection) -> Counter[str]:
        """The indexes that a CREATE INDEX CONCURRENTLY has left unfinished.

        Foreign keys and all other constraints PostgreSQL holds by itself, at COMMIT at the latest.
        """
        return Counter(
            f"{index} of {table} is INVALID, which DROP INDEX CONCURRENTLY {index} takes away"
            for index, table in connection.execute(INVALID)
        )

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        """Look for faults and make the last writes, in one round trip (`Migrations.verify`).

        Args:
            connection: a migration's, in a transaction.
            known: faults from before it, which are none of PostgreSQL's own: it is not asked.
            writes: its last ones.

        Raises:
            MigrationError: an index is not valid, and CREATE INDEX IF NOT EXISTS would keep it; or
                the lock is gone.
        """
        statement = _verify_and(*((statement, tuple(values)) for statement, values in writes))
        parameters = {
            _parameter(number, name): value
            for number, (_, values) in enumerate(writes)
            for name, value in values.items()
        }
        found = [(index, table) for index, table in connection.execute(statement, KEY | parameters)]
        if (None, None) in found:
            raise MigrationError(
                "the lock that keeps others from migrating is gone: the revision lets go of all "
                "advisory locks (DISCARD ALL, pg_advisory_unlock_all), or there is a pooler in "
                "between that gives each transaction another connection: migrate past it, on the "
                "server itself"
            )
        if found:
            raise MigrationError(
                f"a CREATE INDEX CONCURRENTLY has failed, or is still running. {way_out(found)}"
            )

    def begin_anew(
        self, url: URL, suits: Callable[[URL], bool]
    ) -> AbstractContextManager[tuple[URL, str | None]]:
        return begin_anew(url, suits)

    def beyond_models(self, connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
        return beyond_models(connection)

    def broken(self, connection: Connection) -> Collection[str]:
        return broken(connection)

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        return explain(connection, error)

    def lint(self, sql: str) -> Sequence[str] | None:
        return lint(sql)

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        return migrating(connection, patience)

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        return restore_point(connection, name, without)

    def scratch(self, url: URL, *, beside: bool = False) -> AbstractContextManager[Connection]:
        return scratch(url, beside=beside)


def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    from orm.backends.postgresql.one_trip import SyncSamplingConnection

    return SyncSamplingConnection.connect(*arguments, **options)


@cache
def _verify_and(*writes: tuple[Insert | Update, Sequence[str]]) -> TextualSelect:
    """`_VERIFY` and some writes, in one statement."""
    verify = _VERIFY.columns(column("index"), column("table"))
    for number, (statement, columns) in enumerate(writes):
        values: dict[str, Any] = {name: bindparam(_parameter(number, name)) for name in columns}
        verify = verify.add_cte(statement.values(values).cte(f"write_{number}"))
    return verify


def _parameter(number: int, column: str) -> str:
    return f"write_{number}_{column}"
