"""Renames: a column or a table is dropped, and one that looks the same is added."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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

__all__ = ["Rename", "apply", "conceivable", "probable", "requested"]


@dataclass(frozen=True, slots=True)
class Rename:
    """One rename. As text it is what ``--rename`` takes: ``users.nick:handle``, ``users:people``.

    Attributes:
        table: the table of the column; None if it is a table that is renamed.
        old: the old name.
        new: the new name.
        operation: the operation of a revision that renames it.
    """

    table: str | None
    old: str
    new: str
    operation: MigrateOperation

    def __str__(self) -> str:
        return f"{self.table}.{self.old}:{self.new}" if self.table else f"{self.old}:{self.new}"

    @property
    def what(self) -> str:
        """What is renamed, in words, by its old name."""
        return f"column {self.table}.{self.old}" if self.table else f"table {self.old}"

    @property
    def names(self) -> set[tuple[str | None, str]]:
        """Both names; two renames that share a name exclude each other."""
        return {(self.table, self.old), (self.table, self.new)}


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


def requested(
    asked: Iterable[str], operations: Sequence[MigrateOperation], connection: Connection
) -> list[Rename]:
    """The renames that the user asked for.

    Args:
        asked: such as ``users.nick:handle``; the types may differ, and the models may have
            something else by the old name.
        operations: what autogenerate found.
        connection: to the database that was compared.

    Raises:
        ConfigurationError: the old name is not there, or the new one not added; or two renames
            share a name.
    """
    possible = {str(rename): rename for rename, _ in _possible(operations, connection.dialect)}
    possible |= {str(rename): rename for rename in _reborn(asked, operations, connection)}
    chosen: list[Rename] = []
    for text in asked:
        if not all(text.partition(":")):
            raise ConfigurationError(
                f"--rename {text}: a rename has two names, TABLE.OLD:NEW for a column and OLD:NEW "
                f"for a table (possible: {', '.join(possible) or 'there are none'})"
            )
        if text not in possible:
            others = ", ".join(possible) or "there are none"
            raise ConfigurationError(
                f"--rename {text}: the models do not have the new name in place of the old one "
                f"(possible: {others})"
            )
        if any(rename.names & possible[text].names for rename in chosen):
            raise ConfigurationError(f"--rename {text}: another --rename has one of these names")
        chosen.append(possible[text])
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
                operations.rename_table(rename.old, rename.new)
            else:
                with operations.batch_alter_table(rename.table) as batch:
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
    return f"op.rename_table({operation.table_name!r}, {operation.new_table_name!r})"


def _possible(
    operations: Iterable[MigrateOperation], dialect: Dialect
) -> Iterator[tuple[Rename, bool]]:
    """Each pair of a dropped and an added table or column, and whether they look the same."""
    listed = list(operations)
    for operation in listed:
        if isinstance(operation, ModifyTableOps) and operation.schema is None:
            yield from _columns(operation, dialect)
    dropped = [o.to_table() for o in listed if isinstance(o, DropTableOp) and o.schema is None]
    added = [o.to_table() for o in listed if isinstance(o, CreateTableOp) and o.schema is None]
    for old in dropped:
        for new in added:
            operation = RenameTableOp(old.name, new.name)
            alike = _shape(old, dialect) == _shape(new, dialect)
            yield Rename(None, old.name, new.name, operation), alike


def _columns(operations: ModifyTableOps, dialect: Dialect) -> Iterator[tuple[Rename, bool]]:
    table = operations.table_name
    dropped = [o.to_column() for o in operations.ops if isinstance(o, DropColumnOp)]
    added = [o.column for o in operations.ops if isinstance(o, AddColumnOp)]
    for old in dropped:
        for new in added:
            alike = _type(old, dialect) == _type(new, dialect)
            yield _of_column(table, old, new.name), alike


def _of_column(table: str, old: SQLColumn[Any], new: str) -> Rename:
    operation = AlterColumnOp(
        table,
        old.name,
        modify_name=new,
        existing_type=old.type,
        existing_nullable=old.nullable,
        existing_server_default=old.server_default,
    )
    return Rename(table, old.name, new, ModifyTableOps(table, [operation]))


def _reborn(
    asked: Iterable[str], operations: Sequence[MigrateOperation], connection: Connection
) -> Iterator[Rename]:
    """The renames that leave their name to something else, which the models have by it."""
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    made = {o.table_name for o in operations if isinstance(o, CreateTableOp) and o.schema is None}
    added = {
        (operation.table_name, one.column.name)
        for operation in operations
        if isinstance(operation, ModifyTableOps) and operation.schema is None
        for one in operation.ops
        if isinstance(one, AddColumnOp)
    }
    for text in asked:
        name, _, new = text.partition(":")
        table, _, column = name.rpartition(".")
        if name in tables and new in made:
            yield Rename(None, name, new, RenameTableOp(name, new))
        elif table in tables and (table, new) in added:
            there = Table(table, MetaData(), autoload_with=connection).columns
            if column in there:
                yield _of_column(table, there[column], new)


def _shape(table: Table, dialect: Dialect) -> set[tuple[str, str | None]]:
    return {(column.name, _type(column, dialect)) for column in table.columns}


def _type(column: SQLColumn[object], dialect: Dialect) -> str | None:
    return called(column.type, dialect)
