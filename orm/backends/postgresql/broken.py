"""What of PostgreSQL no longer works: functions are text for it, which it reads when they run."""

from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql.driver import sqlstate

__all__ = ["broken"]

_TABLES: Final = """\
SELECT c.oid, c.oid::regclass::text AS name
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
ORDER BY 2"""
_CONSTRAINTS: Final = """\
SELECT quote_ident(conname) FROM pg_constraint
WHERE conrelid = {} AND contype IN ('c', 'f', 'p', 'u', 'x')"""
_COLUMNS: Final = """\
SELECT quote_ident(attname), attnotnull AND attidentity = '' FROM pg_attribute
WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    AND attidentity <> 'a'
ORDER BY attnum"""

_IN_SQL: Final = """\
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid)
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE l.lanname = 'sql' AND p.prokind IN ('f', 'p') AND p.prosqlbody IS NULL
    AND p.pronamespace NOT IN (
        SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema')
    )
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
    )
ORDER BY 1"""
"""The functions of the application's that are text in SQL, and how they are made."""

_MISSING: Final = frozenset({"42703", "42P01", "42883", "42704"})
"""A column or a record's field, a table, a function, another object ("PostgreSQL Error Codes")."""


def broken(connection: Connection) -> set[str]:
    """Triggers and functions that name something that is not there.

    PostgreSQL itself keeps what views name. A trigger's function it reads when that runs: so it is
    run, for one row, in a transaction that is rolled back, in which the table's rules are dropped
    before. A branch that it does not take is not looked into. A function in SQL it reads when it is
    made ("check_function_bodies"): so it is made again. One in another language, which no trigger
    calls, is not looked into.

    Args:
        connection: in autocommit, to a database in which nothing can be lost.
    """
    found: set[str] = set()
    for oid, table in connection.exec_driver_sql(_TABLES).all():
        connection.exec_driver_sql("BEGIN")
        try:
            for name in connection.exec_driver_sql(_CONSTRAINTS.format(oid)).scalars().all():
                _missing(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE")
            columns = connection.exec_driver_sql(_COLUMNS.format(oid)).all()
            for name, is_required in columns:
                if is_required:
                    _missing(connection, f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")
            same = ", ".join(f"{name} = {name}" for name, _ in columns)
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"UPDATE {table} SET {same}",
                f"DELETE FROM {table}",
            ):
                if error := _missing(connection, statement, "SET CONSTRAINTS ALL IMMEDIATE"):
                    found.add(f"a trigger on {table} ({error})")
        finally:
            connection.exec_driver_sql("ROLLBACK")
    return found | _functions(connection)


def _functions(connection: Connection) -> set[str]:
    found: set[str] = set()
    connection.exec_driver_sql("BEGIN")
    try:
        for name, definition in connection.exec_driver_sql(_IN_SQL).all():
            if error := _missing(connection, definition):
                found.add(f"the function {name} ({error})")
    finally:
        connection.exec_driver_sql("ROLLBACK")
    return found


def _missing(connection: Connection, *statements: str) -> str | None:
    """What statements lack; None if they work, or fail for another reason."""
    connection.exec_driver_sql("SAVEPOINT before")
    try:
        for statement in statements:  # one may have a %
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        connection.exec_driver_sql("ROLLBACK TO before")
        if sqlstate(error) in _MISSING:
            return str(error.orig).splitlines()[0]
    return None
