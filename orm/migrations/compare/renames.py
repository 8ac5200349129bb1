"""Renames: a column or a table is dropped, and one that looks the same is added."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
    RenameTableOp,
)
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column as SQLColumn
from sqlalchemy import Connection, Dialect, MetaData, Table, inspect
from sqlalchemy.exc import DBAPIError

from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.compare.types import called
from orm.migrations.explain import cause_of

__all__ = ["Rename", "Requested", "apply", "conceivable", "probable"]


@dataclass(frozen=True, slots=True)
class Rename:
    """One rename. As text it is what ``--rename`` takes: ``users.nick:handle``, ``users:people``.

    Attributes:
        schema: of the table; None if it is the default one.
        table: the table of the column; None if it is a table that is renamed.
        old: the old name.
        new: the new name.
        operation: the operation of a revision that renames it.
    """

    schema: str | None
    table: str | None
    old: str
    new: str
    operation: MigrateOperation

    def __str__(self) -> str:
        return f"{self._path(self.old)}:{self.new}"

    @property
    def what(self) -> str:
        """What is renamed, in words, by its old name."""
        return f"{'column' if self.table else 'table'} {self._path(self.old)}"

    @property
    def names(self) -> set[str]:
        """Both names; two renames that share a name exclude each other."""
        return {self._path(self.old), self._path(self.new)}

    @property
    def renamed_table(self) -> str:
        """The table that it is of, as it is called afterwards."""
        return ".".join(filter(None, (self.schema, self.table or self.new)))

    def _path(self, name: str) -> str:
        return ".".join(filter(None, (self.schema, self.table, name)))


def probable(operations: Iterable[MigrateOperation], dialect: Dialect) -> list[Rename]:
    """The probable renames: columns of the same type, tables of the same columns.

    Args:
        operations: what autogenerate found.
        dialect: of the database that was compared.
    """
    return [rename for rename, alike in _possible(operations, dialect) if alike]


def conceivable(operations: Iterable[MigrateOperation], dialect: Dialect) -> list[Rename]:
    """The renames that are one only if something else of it has changed, too.

    Args:
        operations: what autogenerate found.
        dialect: of the database that was compared.
    """
    return [rename for rename, alike in _possible(operations, dialect) if not alike]


class Requested:
    """The renames that the user asked for, each when it can be made: a column's after its table's.

    Args:
        asked: such as ``users.nick:handle``; the types may differ, and the models may have
            something else by the old name.
    """

    def __init__(self, asked: Iterable[str]) -> None:
        self._asked = list(asked)
        self._names: set[str] = set()

    def next(self, operations: Sequence[MigrateOperation], connection: Connection) -> list[Rename]:
        """Those that can be made now; none if all were made.

        Args:
            operations: what autogenerate found.
            connection: to the database that was compared.

        Raises:
            ConfigurationError: there are others, and the old name is not there, or the new one not
                added; or two renames share a name.
        """
        possible = {str(rename): rename for rename, _ in _possible(operations, connection.dialect)}
        possible |= {str(one): one for one in _reborn(self._asked, operations, connection)}
        chosen = [possible[text] for text in self._asked if text in possible]
        if self._asked and not chosen:
            others = ", ".join(possible) or "there are none"
            if all(self._asked[0].partition(":")):
                why = "the models do not have the new name in place of the old one"
            else:
                why = "a rename has two names, TABLE.OLD:NEW for a column and OLD:NEW for a table"
            raise ConfigurationError(f"--rename {self._asked[0]}: {why} (possible: {others})")
        for rename in chosen:
            if rename.names & self._names:
                raise ConfigurationError(
                    f"--rename {rename}: another --rename has one of these names"
                )
            self._names |= rename.names
            self._asked.remove(str(rename))
        return chosen


def apply(renames: Iterable[Rename], connection: Connection) -> None:
    """Carry renames out, so that a comparison finds the other changes.

    Raises:
        MigrationError: the engine refuses one.
    """
    operations = Operations(MigrationContext.configure(connection))
    for rename in renames:
        try:
            if rename.table is None:
                operations.rename_table(rename.old, rename.new, schema=rename.schema)
            else:
                with operations.batch_alter_table(rename.table, schema=rename.schema) as batch:
                    batch.alter_column(rename.old, new_column_name=rename.new)
        except DBAPIError as error:
            raise MigrationError(
                f"{rename.what} cannot be renamed on {connection.dialect.name}: "
                f"{cause_of(error)}. Write a revision by hand that first drops what stands in the "
                'way, and makes it anew after the rename: orm migrations create --empty "rename"'
            ) from error


@renderers.dispatch_for(RenameTableOp)
def _render(_: AutogenContext, operation: RenameTableOp) -> str:
    # Alembic has a renderer for all other operations; it never finds this one by itself.
    within = f", schema={operation.schema!r}" if operation.schema else ""
    return f"op.rename_table({operation.table_name!r}, {operation.new_table_name!r}{within})"


def _possible(
    operations: Iterable[MigrateOperation], dialect: Dialect
) -> Iterator[tuple[Rename, bool]]:
    """Each pair of a dropped and an added table or column, and whether they look the same."""
    listed = list(operations)
    for operation in listed:
        if isinstance(operation, ModifyTableOps):
            yield from _columns(operation, dialect)
    dropped = [o.to_table() for o in listed if isinstance(o, DropTableOp)]
    added = [o.to_table() for o in listed if isinstance(o, CreateTableOp)]
    for old in dropped:
        for new in added:
            if old.schema == new.schema:
                alike = _shape(old, dialect) == _shape(new, dialect)
                yield _of_table(old.schema, old.name, new.name), alike


def _columns(operations: ModifyTableOps, dialect: Dialect) -> Iterator[tuple[Rename, bool]]:
    schema, table = operations.schema, operations.table_name
    dropped = [o.to_column() for o in operations.ops if isinstance(o, DropColumnOp)]
    added = [o.column for o in operations.ops if isinstance(o, AddColumnOp)]
    for old in dropped:
        for new in added:
            alike = _type(old, dialect) == _type(new, dialect)
            yield _of_column(schema, table, old, new.name), alike


def _of_table(schema: str | None, old: str, new: str) -> Rename:
    return Rename(schema, None, old, new, RenameTableOp(old, new, schema=schema))


def _of_column(schema: str | None, table: str, old: SQLColumn[Any], new: str) -> Rename:
    operation = AlterColumnOp(
        table,
        old.name,
        modify_name=new,
        existing_type=old.type,
        existing_nullable=old.nullable,
        existing_server_default=old.server_default,
        schema=schema,
    )
    made = ModifyTableOps(table, [operation], schema=schema)
    return Rename(schema, table, old.name, new, made)


def _reborn(
    asked: Sequence[str], operations: Sequence[MigrateOperation], connection: Connection
) -> Iterator[Rename]:
    """The renames that leave their name to something else, which the models have by it."""
    inspector = inspect(connection)
    for operation in operations:
        match operation:
            case CreateTableOp(schema=schema, table_name=new):
                for old in inspector.get_table_names(schema):
                    rename = _of_table(schema, old, new)
                    if str(rename) in asked:
                        yield rename
            case ModifyTableOps(schema=schema, table_name=name):
                added = [one.column.name for one in operation.ops if isinstance(one, AddColumnOp)]
                if not added:
                    continue
                there = Table(name, MetaData(), schema=schema, autoload_with=connection)
                for column, new in product(there.columns, added):
                    rename = _of_column(schema, name, column, new)
                    if str(rename) in asked:
                        yield rename
            case _:
                pass


def _shape(table: Table, dialect: Dialect) -> set[tuple[str, str | None]]:
    return {(column.name, _type(column, dialect)) for column in table.columns}


def _type(column: SQLColumn[object], dialect: Dialect) -> str | None:
    return called(column.type, dialect)
