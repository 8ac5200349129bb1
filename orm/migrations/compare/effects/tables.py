"""The tables that a revision meets, and how it finds them again after it has renamed some."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, inspect

__all__ = ["Column", "Schema", "Tables", "schema_of"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database has it: its type as text, and whether it may be NULL."""

    type: str
    nullable: bool


Schema = dict[str, dict[str, Column]]
"""The columns of each table."""


def schema_of(connection: Connection) -> Schema:
    """The tables of the connection's default schema."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type")  # of an extension, for example
        found = inspect(connection).get_multi_columns()
    return {
        table: {
            column["name"]: Column(str(column["type"]), column["nullable"]) for column in columns
        }
        for (_, table), columns in found.items()
    }


@dataclass
class Tables:
    """The tables before some operations, by the names that they have after them.

    Attributes:
        before: as they were; a table that an operation creates has no rows to lose.
    """

    before: Schema
    _tables: dict[str, str] = field(init=False)
    """The old name of each table that still exists, by its new name."""
    _columns: dict[tuple[str, str], str] = field(init=False)
    """The old name of each column that still exists, by its table's old name and its new name."""

    def __post_init__(self) -> None:
        self._tables = {table: table for table in self.before}
        self._columns = {
            (table, column): column for table, columns in self.before.items() for column in columns
        }

    # By the names of now ---------------------------------------------------------------------

    def table(self, name: str) -> str | None:
        """The name that a table had before; None if it is a new one."""
        return self._tables.get(name)

    def column(self, table: str, name: str) -> tuple[str, str, Column] | None:
        """The names that a column and its table had before, and what it was; None if it is new."""
        was = self._tables.get(table)
        if was is None or (was, name) not in self._columns:
            return None
        column = self._columns[was, name]
        return was, column, self.before[was][column]

    def columns(self, table: str) -> Iterator[tuple[str, str, Column]]:
        """The columns of a table that were there before.

        Yields:
            The name of the column now, the name that it had before, and what it was.
        """
        was = self._tables.get(table)
        for (of, now), old in self._columns.items():
            if of == was:
                yield now, old, self.before[of][old]

    # What operations do to the names ---------------------------------------------------------

    def drop(self, table: str) -> None:
        """A table is gone."""
        del self._tables[table]

    def rename(self, table: str, new: str) -> None:
        """A table has another name."""
        self._tables[new] = self._tables.pop(table)

    def drop_column(self, table: str, name: str) -> None:
        """A column is gone."""
        del self._columns[self._tables[table], name]

    def rename_column(self, table: str, name: str, new: str) -> None:
        """A column has another name."""
        was = self._tables[table]
        self._columns[was, new] = self._columns.pop((was, name))
