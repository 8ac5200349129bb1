"""How Alembic's operations alter columns on MariaDB and MySQL.

Alembic renames a column with a whole definition of it, and what the operation does not say of it is
lost, such as AUTO_INCREMENT or a comment. Both engines can rename it alone.

To import this module is to use it: Alembic takes the newest subclass of its ``DefaultImpl`` for a
dialect.
"""

from typing import Any, Final

from alembic.ddl.mysql import MySQLImpl
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    String,
    cast,
    inspect,
    text,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from orm.backends.altering import KeepingLabels
from orm.backends.labels import refuse_lost_labels
from orm.backends.mysql.driver import code
from orm.backends.new_columns import BARE, refuse_column

__all__ = ["KeepingMariaDBImpl", "KeepingMySQLImpl"]

_NOT_THERE: Final = frozenset({1054, 1146})
"""No such column, and no such table."""


def _binary(value: ColumnElement[str]) -> ColumnElement[str]:
    """A string that is another one in other case."""
    return type_coerce(cast(value, LargeBinary), String)


class KeepingMySQLImpl(KeepingLabels, MySQLImpl):
    """Alembic's MySQL, but for names and values of columns, and labels of string enums."""

    __dialect__ = "mysql"

    def add_column(
        self,
        table_name: str,
        column: Column[Any],
        *,
        schema: str | None = None,
        **options: Any,
    ) -> None:
        """Add it, unless the engines would fill it with an empty string, a zero or the like."""
        lacks = not (column.nullable or column.primary_key or column.computed or column.identity)
        if lacks and not column.server_default and self.connection and not self.as_sql:
            self._refuse_without_values(self.connection, (schema, table_name), column)
        super().add_column(table_name, column, schema=schema, **options)

    def _refuse_without_values(
        self, connection: Connection, where: tuple[str | None, str], column: Column[Any]
    ) -> None:
        schema, table = where
        try:
            there = [one["name"] for one in inspect(connection).get_columns(table, schema)]
            if column.name not in there:
                refuse_column(connection, table, column, BARE, schema=schema)
        except NoSuchTableError:
            return  # a revision that goes on where it was has given it another name since

    def alter_column(
        self,
        table_name: str,
        column_name: str,
        *,
        name: str | None = None,
        schema: str | None = None,
        **options: Any,
    ) -> None:
        super().alter_column(table_name, column_name, schema=schema, **options)
        if name is not None and name != column_name:
            quote = self.dialect.identifier_preparer.quote
            within = f"{quote(schema)}." if schema else ""
            self._exec(
                text(
                    f"ALTER TABLE {within}{quote(table_name)} "
                    f"RENAME COLUMN {quote(column_name)} TO {quote(name)}".replace(":", r"\:")
                )
            )

    def _refuse_lost_labels(
        self, connection: Connection, where: tuple[str | None, str, str], old: Any, new: Any
    ) -> None:
        try:
            refuse_lost_labels(connection, where, old, new, _binary)
        except DBAPIError as error:
            # A revision that goes on where it was may have given it another name since.
            if code(error) not in _NOT_THERE:
                raise


class KeepingMariaDBImpl(KeepingMySQLImpl):
    """The same of MariaDB."""

    __dialect__ = "mariadb"
