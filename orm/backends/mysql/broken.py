"""Views, triggers and events of MariaDB and MySQL that no longer work."""

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
_EVENTS: Final = """\
SELECT event_name, event_definition FROM information_schema.events
WHERE event_schema = DATABASE() ORDER BY event_name"""

_NAME: Final = "orm_event"
_FUNCTION: Final = f"CREATE FUNCTION {_NAME}() RETURNS INT DETERMINISTIC MODIFIES SQL DATA"
_LENIENT: Final = {
    "sql_mode": "''",  # a column without a default gets its type's
    "foreign_key_checks": "0",
    "check_constraint_checks": "0",  # of MariaDB's alone
}
_MISSING: Final = frozenset({1054, 1146, 1305, 1356, 1370})
"""A column, a table, a routine; what a view names; the right to call a routine that is gone."""


def broken(connection: Connection) -> set[str]:
    """Views, triggers of tables, and events, that name something that is not there.

    The engines look into a trigger when it runs: so it is run, for one row, in a transaction that
    is rolled back. So is what an event does, unless it may commit. A branch that is not taken is
    not looked into, and neither are routines that none of them calls.

    Args:
        connection: to a database in which nothing can be lost.
    """
    found = {
        f"view {view} ({error})"
        for view in connection.exec_driver_sql(_VIEWS).scalars().all()
        if (error := _missing(connection, f"SELECT * FROM {_quoted(connection, view)} LIMIT 0"))
    }
    with _lenient(connection):
        return {*found, *_triggers(connection), *_events(connection)}


def _triggers(connection: Connection) -> Iterator[str]:
    columns: dict[str, list[str]] = {}
    for table, column in connection.exec_driver_sql(_COLUMNS).all():
        columns.setdefault(table, []).append(column)
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
                yield f"a trigger on {table} ({error})"
        connection.exec_driver_sql("ROLLBACK")


def _events(connection: Connection) -> Iterator[str]:
    """Run what each does as a function, which the engines do not make of what may commit."""
    for event, does in connection.exec_driver_sql(_EVENTS).all():
        body = does.replace("%", "%%")  # PyMySQL's own sign
        try:
            connection.exec_driver_sql(f"{_FUNCTION} BEGIN {body}; RETURN 1; END")
        except DBAPIError:
            continue  # it may commit, or is none that a function can do: nothing is known of it
        connection.exec_driver_sql("START TRANSACTION")
        error = _missing(connection, f"SELECT {_NAME}()")
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql(f"DROP FUNCTION {_NAME}")
        if error:
            yield f"event {event} ({error})"


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
