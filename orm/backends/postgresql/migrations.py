"""Migrations of PostgreSQL (`orm.backends.Migrations`).

One runs at a time, and gives up rather than make all other sessions wait.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    MetaData,
    TextClause,
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

from orm._greenlet import await_, in_greenlet
from orm.backends.labels import relabelling
from orm.backends.migrations import Thing, Write
from orm.backends.postgresql.anew import begin_anew
from orm.backends.postgresql.beyond_models import beyond_models
from orm.backends.postgresql.blocking import watching
from orm.backends.postgresql.definitions import definitions
from orm.backends.postgresql.driver import arguments, bounded, sqlstate, understood
from orm.backends.postgresql.explain import explain, is_of_a_view
from orm.backends.postgresql.invalid import INVALID, way_out
from orm.backends.postgresql.restore_point import restore_point
from orm.backends.postgresql.scratch import scratch
from orm.backends.postgresql.squawk import lint
from orm.backends.postgresql.sync import is_tuned, sync_url
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation

__all__ = [
    "adapted",
    "all_ddl_is_transactional",
    "begin_anew",
    "beyond_models",
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
_LOG: Final = logging.getLogger(__name__)
_POLL: Final = 0.05
"""Seconds between two tries for the lock."""

_KEY: Final = {"high": 0x6F726D, "low": 0x6D696772}
"""Of the advisory lock, which is one of the database's; in ASCII it is ``orm`` and ``migr``."""
_TRY: Final = text("SELECT pg_try_advisory_lock(:high, :low)")
_TRY_FOR_TRANSACTION: Final = text("SELECT pg_try_advisory_xact_lock(:high, :low)")
_UNLOCK: Final = text("SELECT pg_advisory_unlock(:high, :low)")
_SELF: Final = text("SELECT pg_is_in_recovery() AS is_standby, pg_backend_pid() AS pid")
_HOLDS: Final = """\
pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
AND l.classid = :high AND l.objid = :low
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_HOLDER: Final = text(f"""\
SELECT a.pid, a.application_name, a.usename, a.client_addr
FROM pg_stat_activity a WHERE a.pid IN (SELECT l.pid FROM {_HOLDS})""")

_SETTINGS: Final = {
    # Every session that comes after one that waits for a lock waits, too, readers included. Set
    # another time by PostgreSQL's own means: ALTER ROLE … SET lock_timeout, or SET LOCAL in
    # the revision.
    "lock_timeout": ("0", "5s"),
    "application_name": ("", "orm migrations"),
    # The server notices within a minute that the machine of the lock's holder is gone.
    "tcp_keepalives_idle": (None, "30"),
    "tcp_keepalives_interval": (None, "10"),
    "tcp_keepalives_count": (None, "3"),
}
"""The value that stands for "not set" (None: any), and the one for migrations."""

_VERIFY: Final = text(f"""\
SELECT NULL AS index, NULL AS table
WHERE NOT EXISTS (SELECT FROM {_HOLDS} AND l.pid = pg_backend_pid())
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


# One at a time -----------------------------------------------------------------------------


@contextmanager
def migrating(connection: Connection, patience: float) -> Iterator[None]:
    """Hold the lock of the database's migrations (`orm.backends.Migrations.migrating`).

    The lock is an advisory one of the session, which ends with its process. It is asked for again
    and again: a statement that waits holds a snapshot, for whose end CREATE INDEX CONCURRENTLY in
    the other run would wait, and that is a deadlock.

    Raises:
        MigrationError: the server is a standby; or another process migrates for longer than
            `patience` seconds; in the caller's transaction, another process migrates at all.
    """
    if connection.in_transaction():
        if not connection.scalar(_TRY_FOR_TRANSACTION, _KEY):
            raise MigrationError(
                f"{_holder(connection)} is migrating this database: apply when that is done, or "
                "hand the connection in before its transaction begins, to wait for it"
            )
        yield
        return
    with connection.begin():
        this = connection.execute(_SELF).one()
    if this.is_standby:
        raise MigrationError(
            "this server is a standby, which only replays what the primary does: apply there"
        )
    with (
        _in_transactions(connection),
        _locked(connection, patience),
        _set(connection),
        watching(connection, this.pid),
    ):
        yield


@contextmanager
def _in_transactions(connection: Connection) -> Iterator[None]:
    """End autocommit for the length of the block: with it half of a revision could stay."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    if not connection.dialect.detect_autocommit_setting(driver):
        yield
        return
    connection.execution_options(isolation_level="READ COMMITTED")
    try:
        yield
    finally:
        connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _locked(connection: Connection, patience: float) -> Iterator[None]:
    until, waited = time.monotonic() + patience, False
    while not _ask(connection, _TRY):
        if time.monotonic() >= until:
            raise MigrationError(
                f"{_holder(connection)} is migrating this database, and was not done within "
                f"{patience:g} s: apply again when it is"
            )
        if not waited:
            _LOG.warning("%s is migrating this database: waiting for it", _holder(connection))
            connection.rollback()
            waited = True
        if in_greenlet():  # the holder of the lock may run in this very event loop
            await_(asyncio.sleep(_POLL))
        else:
            time.sleep(_POLL)
    try:
        yield
    finally:
        if not connection.invalidated:  # else the lock ended with the connection
            connection.rollback()
            _ask(connection, _UNLOCK)


def _ask(connection: Connection, question: TextClause) -> bool:
    """Ask in a transaction of its own, so that between two questions there is no snapshot."""
    with connection.begin():
        return bool(connection.scalar(question, _KEY))


def _holder(connection: Connection) -> str:
    row = connection.execute(_HOLDER, _KEY).first()
    if row is None:  # it is done by now
        return "another process"
    where = f" at {row.client_addr}" if row.client_addr else ""
    return f"process {row.pid} of {row.usename}{where} ({row.application_name})"


@contextmanager
def _set(connection: Connection) -> Iterator[None]:
    """Set what is not set yet as migrations need it, and set it back afterwards."""
    ask = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
    change = text("""\
SELECT set_config(name, value, false)
FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS setting (name, value)""")
    with connection.begin():
        found = connection.execute(ask, {"names": list(_SETTINGS)})
        before = {name: value for name, value in found if _SETTINGS[name][0] in (None, value)}
        values = [_SETTINGS[name][1] for name in before]
        connection.execute(change, {"names": list(before), "values": values}).all()
    both = {"names": list(before), "values": list(before.values())}
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # what has failed says more; and it may have failed by that
            if not connection.invalidated:
                connection.rollback()
                connection.execute(change, both)
                connection.commit()
        raise
    connection.rollback()
    with connection.begin():
        connection.execute(change, both).all()


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
    found = [(index, table) for index, table in connection.execute(statement, _KEY | parameters)]
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
