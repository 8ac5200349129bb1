"""New columns that SQLite cannot add to a table with rows, found before it tries to."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from alembic.ddl.base import AddColumn
from sqlalchemy import Column, Connection, Dialect

from orm.backends.new_columns import BARE, refuse_column

__all__ = ["refuse_column_without_values"]


def refuse_column_without_values(
    connection: Connection, name: str, added: Iterable[Column[Any]], *, native: bool
) -> None:
    """Refuse new columns that the rows of the table would have no value for.

    Raises:
        MigrationError: names the table, its rows, and what to do instead.
    """
    for column in added:
        reason = _reason(column, connection.dialect, native=native)
        if reason is not None:
            refuse_column(connection, name, column, reason)


def _reason(column: Column[Any], dialect: Dialect, *, native: bool) -> str | None:
    """What SQLite has against the column on a table with rows."""
    if not native:  # values are copied, so a default may be any expression
        lacks = not column.nullable and column.server_default is None
        return BARE if lacks and not _is_row_number(column, dialect) else None
    statement = str(AddColumn("t", column).compile(dialect=dialect))
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1);")
        try:
            scratch.execute(statement)
        except sqlite3.OperationalError as error:
            if "NOT NULL" in str(error) or "non-constant" in str(error):
                return str(error)
    return None  # or it is something that is wrong without any rows, too


def _is_row_number(column: Column[Any], dialect: Dialect) -> bool:
    """Whether SQLite fills it by itself (SQLite "ROWIDs and the INTEGER PRIMARY KEY")."""
    alone = column.primary_key and len(column.table.primary_key.columns) == 1
    return alone and column.type.compile(dialect=dialect).upper() == "INTEGER"
