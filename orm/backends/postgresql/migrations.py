"""Migrations of PostgreSQL (`orm.backends.Migrations`)."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
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
from orm.backends.migrations import Write
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
from orm.backends.things import Thing
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = [
    "adapted",
    "all_ddl_is_transactional",
    "begin_anew",
    "beyond_models",
    "broken",
    "costs",
    "definitions",
    "engine",
    "explain",
    "faults",
    "has_linter",
    "is_absent",
    "is_generated_name",
    "is_not_understood",
    "journal",
    "lint",
    "migrating",
    "new_columns_need_constants",
    "operations_for",
    "prepare_alembic",
    "prepare_scratch",
    "reserved_tables",
    "restore_point",
    "scratch",
    "scratch_can_lack",
    "script",
    "shares_names",
    "surprises",
    "verify",
    "watch_transaction",
]

reserved_tables: frozenset[str] = frozenset()
all_ddl_is_transactional = False
new_columns_need_constants = False
shares_names = True  # an index, and what has one, is named in the schema and not in its table
scratch_can_lack = True
has_linter = True
costs = None
journal = None
script = None

_GENERATED: Final = re.compile(r"\w*_(pkey|fkey|key|check|excl)\d*")
_VERIFY: Final = text(f"""\
SELECT NULL AS index, NULL AS table
WHERE NOT EXISTS (SELECT FROM {HOLDS} AND l.pid = pg_backend_pid())
UNION ALL ({INVALID.text})""")
"""A row of nothing if the lock is gone, and `INVALID`: in one, since it is asked so often."""


def is_absent(url: URL) -> bool:
    """False: a server's database is made by its administrator."""
    return False


def prepare_alembic() -> None:
    """Have Alembic see labels of enums that rows have."""
    import orm.backends.postgresql.altering  # noqa: F401 - Alembic finds by itself what it defines


def prepare_scratch(
    connection: Connection, schemas: Collection[str], like: Mapping[Thing, str]
) -> None:
    """Create the schemas, and the extensions of the other database."""
    quote = connection.dialect.identifier_preparer.quote
    for schema in sorted(schemas):
        connection.execute(CreateSchema(schema, if_not_exists=True))
    for thing in like:
        if thing.kind == "extension":
            connection.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {quote(thing.name)}")


def surprises(new: Mapping[Thing, str]) -> Sequence[str]:
    """None."""
    return ()


def is_generated_name(name: str) -> bool:
    """Whether it is of the form ``table_column_key`` (PostgreSQL "ChooseIndexName")."""
    return _GENERATED.fullmatch(name) is not None


def is_not_understood(error: DBAPIError) -> bool:
    """A syntax error, or a function or type that does not exist."""
    code = sqlstate(error)
    is_unknown = code in {"42601", "42883", "42704", "0A000"}
    return is_unknown and not is_of_a_view(code, error.statement or "")


def adapted(
    operations: "Sequence[MigrateOperation]",
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> "Sequence[MigrateOperation] | None":
    """Those of Alembic, after the types and sequences that they need; None if one is not fit."""
    from orm.backends.postgresql.writing import Following, Plan, concurrently, is_enough, joined

    if not is_enough(operations, both):
        return None
    following = Following(*both)
    names = following.old, both[1]
    plan = Plan(*names, models)
    first, rest = concurrently(following.without(operations), names, models)
    return joined([first, following.statements(), *plan.before(), *rest, *plan.after()])


def operations_for(
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


def engine(url: URL, **options: Any) -> Engine | AsyncEngine:
    """Make an engine of psycopg where it is installed: migrations need no event loop.

    Args:
        url: of the database.
        options: for SQLAlchemy's engine. With any, as with a parameter of the URL that only its own
            driver understands, that driver is used.
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


def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    from orm.backends.postgresql.one_trip import SyncSamplingConnection

    return SyncSamplingConnection.connect(*arguments, **options)


# Each has its own text: DISCARD ALL takes away what the driver has prepared.
_THIS: Final = "SELECT pg_current_xact_id()::text AS this{}"
_STILL: Final = "SELECT pg_current_xact_id_if_assigned()::text AS still{}"
_numbers: Final = count()


def watch_transaction(connection: Connection) -> Callable[[], bool]:
    """By the number that the server gives to a transaction that writes."""
    number = next(_numbers)
    this = connection.scalar(text(_THIS.format(number)))
    return lambda: connection.scalar(text(_STILL.format(number))) == this


# Before COMMIT -----------------------------------------------------------------------------


def faults(connection: Connection) -> Counter[str]:
    """The indexes that a CREATE INDEX CONCURRENTLY has left unfinished.

    Foreign keys and all other constraints PostgreSQL holds by itself, at COMMIT at the latest.
    """
    return Counter(
        f"{index} of {table} is INVALID, which DROP INDEX CONCURRENTLY {index} takes away"
        for index, table in connection.execute(INVALID)
    )


def verify(connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
    """Look for faults and make the last writes, in one round trip (`Migrations.verify`).

    Args:
        connection: a migration's, in a transaction.
        known: faults from before it, which are none of PostgreSQL's own: it is not asked.
        writes: its last ones.

    Raises:
        MigrationError: an index is not valid, and CREATE INDEX IF NOT EXISTS would keep it; or the
            lock is gone.
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
            "advisory locks (DISCARD ALL, pg_advisory_unlock_all), or there is a pooler in between "
            "that gives each transaction another connection: migrate past it, on the server itself"
        )
    if found:
        raise MigrationError(
            f"a CREATE INDEX CONCURRENTLY has failed, or is still running. {way_out(found)}"
        )


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
