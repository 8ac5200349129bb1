"""Views and triggers of MariaDB and MySQL that no longer work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends.mysql.driver import code

__all__ = ["broken"]

_VIEWS: Final = """\
SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()
ORDER BY table_name"""
_COLUMNS: Final = """\
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND COALESCE(generation_expression, '') = ''
AND table_name IN (
    SELECT event_object_table FROM information_schema.triggers WHERE trigger_schema = DATABASE()
)
ORDER BY table_name, ordinal_position"""

_LENIENT: Final = {
    "sql_mode": "''",  # a column without a default gets its type's
    "foreign_key_checks": "0",
    "check_constraint_checks": "0",  # of MariaDB's alone
}
_MISSING: Final = frozenset({1054, 1146, 1305, 1356, 1370})
"""A column, a table, a routine; what a view names; the right to call a routine that is gone."""


def broken(connection: Connection) -> set[str]:
    """Views, and triggers of tables, that name something that is not there.

    The engines look into a trigger when it runs: so it is run, for one row, in a transaction that
    is rolled back. A branch that it does not take is not looked into, and neither are routines.

    Args:
        connection: to a database in which nothing can be lost.
    """
    found = {
        f"view {view} ({error})"
        for view in connection.exec_driver_sql(_VIEWS).scalars().all()
        if (error := _missing(connection, f"SELECT * FROM {_quoted(connection, view)} LIMIT 0"))
    }
    columns: dict[str, list[str]] = {}
    for table, column in connection.exec_driver_sql(_COLUMNS).all():
        columns.setdefault(table, []).append(column)
    if not columns:
        return found
    with _lenient(connection):
        for table, names in columns.items():
            where = _quoted(connection, table)
            same = (f"{name} = {name}" for name in (_quoted(connection, n) for n in names))
            connection.exec_driver_sql("START TRANSACTION")
            for statement in (
                f"INSERT INTO {where} () VALUES ()",
                f"UPDATE {where} SET {', '.join(same)}",
                f"DELETE FROM {where}",
            ):
                if error := _missing(connection, statement):
                    found.add(f"a trigger on {table} ({error})")
            connection.exec_driver_sql("ROLLBACK")
    return found


@contextmanager
def _lenient(connection: Connection) -> Iterator[None]:
    """Take rows that break all rules."""
    before = {
        name: connection.exec_driver_sql(f"SELECT @@SESSION.{name}").scalar()
        for name in _LENIENT
        if connection.exec_driver_sql(f"SHOW VARIABLES LIKE '{name}'").all()
    }
    for name in before:
        connection.exec_driver_sql(f"SET SESSION {name} = {_LENIENT[name]}")
    try:
        yield
    finally:
        for name, value in before.items():
            said = f"'{value}'" if isinstance(value, str) else value
            connection.exec_driver_sql(f"SET SESSION {name} = {said}")


def _missing(connection: Connection, statement: str) -> str | None:
    """What a statement lacks; None if it works, or fails for another reason."""
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if code(error) in _MISSING:
            return str(error.orig.args[1] if error.orig is not None else error)
    return None


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
