"""The tables that a revision meets, and how it finds them again after it has renamed some."""

import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, Dialect, inspect

__all__ = ["Catalog", "Column", "Tables", "catalog_of"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database has it: its type as text, and whether it may be NULL."""

    type: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables of a database; one that is not in the default schema is ``schema.table``.

    Attributes:
        columns: those of each table.
        default: the schema that is meant where none is named; None if there are no schemas.
        dialect: of the database.
    """

    columns: dict[str, dict[str, Column]]
    default: str | None
    dialect: Dialect

    def name(self, table: str) -> str:
        """What a table is called here."""
        return table if self.default is None else table.removeprefix(f"{self.default}.")


def catalog_of(connection: Connection, schemas: Iterable[str] = ()) -> Catalog:
    """The tables of a database.

    Args:
        connection: to it.
        schemas: the schemas to look into, besides the default one. Those that are not there have no
            tables.
    """
    inspector = inspect(connection)
    default = inspector.default_schema_name
    others = set(schemas) - {default}
    if others:
        others &= set(inspector.get_schema_names())
    columns: dict[str, dict[str, Column]] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type")  # of an extension, for example
        for schema in (None, *sorted(others)):
            for (_, table), found in inspector.get_multi_columns(schema=schema).items():
                columns[f"{schema}.{table}" if schema else table] = {
                    column["name"]: Column(str(column["type"]), column["nullable"])
                    for column in found
                }
    return Catalog(columns, default, connection.dialect)


@dataclass
class Tables:
    """The tables before some operations, by the names that they have after them.

    Attributes:
        before: as they were; a table that an operation creates has no rows to lose.
    """

    before: Catalog
    _tables: dict[str, str] = field(init=False)
    """The old name of each table that still exists, by its new name."""
    _columns: dict[tuple[str, str], str] = field(init=False)
    """The old name of each column that still exists, by its table's old name and its new name."""

    def __post_init__(self) -> None:
        columns = self.before.columns
        self._tables = {table: table for table in columns}
        self._columns = {(table, column): column for table in columns for column in columns[table]}

    # By the names of now ---------------------------------------------------------------------

    def table(self, name: str) -> str | None:
        """The name that a table had before; None if it is a new one."""
        return self._tables.get(self._now(name))

    def column(self, table: str, name: str) -> tuple[str, str, Column] | None:
        """The names that a column and its table had before, and what it was; None if it is new."""
        was = self.table(table)
        if was is None or (key := self._key(was, name)) not in self._columns:
            return None
        column = self._columns[key]
        return was, column, self.before.columns[was][column]

    def of_schema(self, schema: str) -> list[str]:
        """The tables of a schema."""
        within = "" if schema == self.before.default else schema
        return [table for table in self._tables if table.rpartition(".")[0] == within]

    def columns(self, table: str) -> Iterator[tuple[str, str, Column]]:
        """The columns of a table that were there before.

        Yields:
            The name of the column now, the name that it had before, and what it was.
        """
        was = self.table(table)
        for (of, now), old in self._columns.items():
            if of == was:
                yield now, old, self.before.columns[of][old]

    # What operations do to the names ---------------------------------------------------------

    def drop(self, table: str) -> None:
        """A table is gone."""
        del self._tables[self._now(table)]

    def rename(self, table: str, new: str) -> None:
        """A table has another name."""
        self._tables[self.before.name(new)] = self._tables.pop(self._now(table))

    def drop_column(self, table: str, name: str) -> None:
        """A column is gone."""
        del self._columns[self._key(self._tables[self._now(table)], name)]

    def rename_column(self, table: str, name: str, new: str) -> None:
        """A column has another name."""
        was = self._tables[self._now(table)]
        self._columns[was, new] = self._columns.pop(self._key(was, name))

    # A name without quotes is the same in capitals, for most engines: so it is found as well.

    def _now(self, table: str) -> str:
        """What a table is called now that an operation names so."""
        return _alike(self.before.name(table), self._tables)

    def _key(self, was: str, column: str) -> tuple[str, str]:
        """The column of a table that an operation names so."""
        return was, _alike(column, [now for of, now in self._columns if of == was])


def _alike(name: str, names: Collection[str]) -> str:
    """The one of the names that is meant."""
    if name in names:
        return name
    return next((one for one in names if one.casefold() == name.casefold()), name)
