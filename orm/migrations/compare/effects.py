"""What operations do to existing rows, and to a program that runs beside the migration."""

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from alembic.operations.ops import (
    AddColumnOp,
    AddConstraintOp,
    AlterColumnOp,
    CreateForeignKeyOp,
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
    RenameTableOp,
)
from sqlalchemy import Column as SQLColumn
from sqlalchemy import Connection, DateTime, Delete, Enum, TextClause, Update, inspect

from orm.backends.labels import literals
from orm.migrations.compare.plain_sql import Deletes, Rewrites, Updates, fits, in_sql
from orm.migrations.internals import Recorded

__all__ = ["Column", "Effect", "Kind", "Schema", "Tables", "flat", "schema_of", "table_of"]

Kind = Literal[
    "drop_table",
    "drop_column",
    "type",
    "rewrite",
    "convert",
    "not_null",
    "required_column",
    "changing_default",
    "rename",
    "delete",
    "update",
    "constraint",
    "index",
    "alter",
    "unknown",
]

LOSING: Final[frozenset[Kind]] = frozenset({"drop_table", "drop_column", "type", "delete"})
"""Rows or values are lost for good."""
_CONSTANT: Final = re.compile(r"[-+]?[\d.]+|'(?:[^']|'')*'|NULL|TRUE|FALSE", re.IGNORECASE)


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


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a reader should know before a revision is applied.

    Attributes:
        kind: for programs.
        table: the name that the table has before the revisions; empty if that is not known.
        column: the name that the column has before them; None if it is about the whole table.
        message: a sentence.
    """

    kind: Kind
    table: str
    column: str | None
    message: str

    @property
    def loses_data(self) -> bool:
        """Whether rows or values may be lost for good."""
        return self.kind in LOSING


def flat(operations: Iterable[MigrateOperation], *, batch: bool = False) -> Iterator[Recorded]:
    """The operations that autogenerate found, as a revision would call them."""
    for operation in operations:
        if isinstance(operation, ModifyTableOps):
            yield from flat(operation.ops, batch=True)
        else:
            yield Recorded(operation, batch)


@dataclass
class Tables:
    """The tables before some operations, by the names that they have after them.

    Attributes:
        before: as they were; a table that an operation creates has no rows to lose.
    """

    before: Schema
    tables: dict[str, str] = field(init=False)
    """The old name of each table that still exists, by its new name."""
    columns: dict[tuple[str, str], str] = field(init=False)
    """The old name of each column that still exists, by its table's old name and its new name."""

    def __post_init__(self) -> None:
        self.tables = {table: table for table in self.before}
        self.columns = {
            (table, column): column for table, columns in self.before.items() for column in columns
        }

    def affected_by(self, records: Iterable[Recorded]) -> list[Effect]:
        """What operations would do to the tables; the next call begins after these operations."""
        return [effect for record in records for effect in _of(record, self)]

    def column(self, operation: AlterColumnOp | DropColumnOp) -> tuple[str, str, Column] | None:
        """The column of an operation, as it was before; None if it is a new one."""
        table = self.tables.get(table_of(operation))
        if table is None or (table, operation.column_name) not in self.columns:
            return None
        column = self.columns[table, operation.column_name]
        return table, column, self.before[table][column]


def table_of(operation: MigrateOperation) -> str:
    """The name of an operation's table, with that of its schema if it has one."""
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    within = getattr(operation, "schema", None) or getattr(operation, "source_schema", None)
    return f"{within}.{table}" if within else str(table)


def _of(record: Recorded, tables: Tables) -> Iterator[Effect]:
    operation = record.operation
    match operation:
        case ExecuteSQLOp():
            yield from _statement(operation, tables)
        case AlterColumnOp():
            yield from _altered(operation, tables)
        case DropColumnOp():
            if (was := tables.column(operation)) is not None:
                table, column, _ = was
                del tables.columns[table, operation.column_name]
                yield Effect(
                    "drop_column", table, column, f"drops {table}.{column} and all its values"
                )
        case CreateTableOp():
            if record.batch:
                yield from _rebuilt(operation, tables)
        case _ if (of_before := tables.tables.get(table_of(operation))) is not None:
            yield from _of_table(record, of_before, tables)


def _rebuilt(operation: CreateTableOp, tables: Tables) -> Iterator[Effect]:
    """What becomes of the columns of a table that a batch describes as it shall be."""
    name = table_of(operation)
    new = {one.name: one for one in operation.columns if isinstance(one, SQLColumn)}
    for (table, column), old in list(tables.columns.items()):
        if table != tables.tables.get(name):
            continue
        if (now := new.pop(column, None)) is None:
            changed: MigrateOperation = DropColumnOp(name, column)
        else:
            is_same = str(now.type) == tables.before[table][old].type
            changed = AlterColumnOp(
                name,
                column,
                modify_type=None if is_same else now.type,
                modify_nullable=now.nullable,
            )
        yield from _of(Recorded(changed, batch=True), tables)
    for added in new.values():
        yield from _of(Recorded(AddColumnOp(name, added), batch=True), tables)


def _of_table(record: Recorded, table: str, tables: Tables) -> Iterator[Effect]:
    operation = record.operation
    match operation:
        case DropTableOp():
            del tables.tables[table_of(operation)]
            yield Effect("drop_table", table, None, f"drops {table} with all its rows")
        case RenameTableOp(new_table_name=new):
            del tables.tables[table_of(operation)]
            tables.tables[f"{operation.schema}.{new}" if operation.schema else new] = table
            yield Effect(
                "rename",
                table,
                None,
                f"renames {table} to {new}: a program that still asks for {table} fails. To change "
                "over without a stop, add the new table, fill both, and drop the old one later",
            )
        case AddColumnOp(column=column):
            if _is_required(operation):
                yield Effect(
                    "required_column",
                    table,
                    column.name,
                    f"adds {table}.{column.name} NOT NULL without a default: existing rows have no "
                    "value for it, so it fails if there are any. Give it a server_default, or add "
                    "it with NULL allowed, fill it, and then set NOT NULL",
                )
            elif not record.batch and _changes(operation):
                yield Effect(
                    "changing_default",
                    table,
                    column.name,
                    f"adds {table}.{column.name} with a default that is not a constant: SQLite "
                    "refuses that for a table with rows. Add it inside of op.batch_alter_table, "
                    "which rebuilds the table",
                )
        case AddConstraintOp():
            kind = "foreign key" if isinstance(operation, CreateForeignKeyOp) else "constraint"
            yield Effect(
                "constraint",
                table,
                None,
                f"adds a {kind} to {table}: it fails if a row breaks it, and locks the table while "
                "the database checks every row",
            )
        case CreateIndexOp(unique=True, kw=options):
            words = f"creates a unique index on {table}: it fails if two rows have the same there"
            if not options.get("postgresql_concurrently"):
                words += ", and no other transaction can write to the table meanwhile"
            yield Effect("constraint", table, None, words)
        case CreateIndexOp(kw=options) if not options.get("postgresql_concurrently"):
            yield Effect(
                "index",
                table,
                None,
                f"creates an index on {table}: other transactions cannot write to it meanwhile. On "
                "PostgreSQL, postgresql_concurrently=True in an autocommit_block avoids that",
            )


def _altered(operation: AlterColumnOp, tables: Tables) -> Iterator[Effect]:
    if (was := tables.column(operation)) is None:
        return
    table, column, before = was
    where = f"{table}.{column}"
    if operation.modify_nullable is False and before.nullable:
        yield Effect(
            "not_null",
            table,
            column,
            f"makes {where} NOT NULL: it fails if a row has NULL there, and so does a program "
            "that still writes NULL",
        )
    if lost := _lost_labels(operation):
        yield Effect(
            "constraint",
            table,
            column,
            f"takes {', '.join(map(repr, lost))} from the enum of {where}: it fails if a row has "
            f"that. Update such rows in the same revision, before it: UPDATE {table} SET {column} "
            f"= … WHERE {column} IN ({literals(lost)})",
        )
    elif operation.modify_type is not None and fits(before.type, str(operation.modify_type)):
        yield Effect(
            "rewrite",
            table,
            column,
            f"changes {where} from {before.type} to {operation.modify_type}, which every value "
            "fits: the table may be locked while it is rewritten",
        )
    elif operation.modify_type is not None:
        yield Effect(
            "type",
            table,
            column,
            f"changes {where} from {before.type} to {operation.modify_type!r}: "
            f"{_converted(operation)}, and the table is locked while it is rewritten",
        )
    new = operation.modify_name
    if new is not None and new != operation.column_name:
        tables.columns[table, new] = tables.columns.pop((table, operation.column_name))
        yield Effect(
            "rename",
            table,
            column,
            f"renames {where} to {new}: a program that still asks for {column} fails. To change "
            "over without a stop, add the new column, fill both, and drop the old one later",
        )


def _lost_labels(operation: AlterColumnOp) -> list[str]:
    """The labels that an enum does not have any more."""
    match operation.existing_type, operation.modify_type:
        case Enum() as old, Enum() as new:
            return [label for label in old.enums if label not in new.enums]
    return []


def _converted(operation: AlterColumnOp) -> str:
    """What becomes of the values of a column that gets another type."""
    match operation.existing_type, operation.modify_type:
        case DateTime(timezone=False), DateTime(timezone=True):
            return (
                "values from before are read as times of the zone UTC (AT TIME ZONE 'UTC'): name "
                "another zone in the file if they were not written in this one"
            )
    return "a value that does not fit is cut off, changed or refused"


def _statement(operation: ExecuteSQLOp, tables: Tables) -> Iterator[Effect]:
    statement = operation.sqltext
    if isinstance(statement, Delete | Update):
        name = str(getattr(statement.table, "name", ""))
        if (table := tables.tables.get(name)) is not None:
            if isinstance(statement, Delete):
                yield Effect("delete", table, None, f"deletes rows of {table}")
            else:
                yield Effect("update", table, None, f"sets values in rows of {table}")
        return
    text = statement.text if isinstance(statement, TextClause) else statement
    if isinstance(text, str):
        for said in in_sql(text):
            match said:
                case Deletes():
                    if (table := tables.tables.get(said.table)) is not None:
                        yield Effect("delete", table, None, f"deletes rows of {table}")
                case Updates():
                    yield from _updated(said, tables)
                case Rewrites():
                    if (was := tables.column(AlterColumnOp(said.table, said.column))) is not None:
                        yield _rewritten(said, *was)
                case _:
                    yield from _of(Recorded(said, batch=False), tables)


def _updated(said: Updates, tables: Tables) -> Iterator[Effect]:
    """What an UPDATE does to values that were there before the revisions."""
    table = tables.tables.get(said.table)
    columns = sorted(
        old
        for (within, new), old in tables.columns.items()
        if within == table and new in said.columns
    )
    if table is not None and columns:
        yield Effect("update", table, None, f"sets {', '.join(columns)} in rows of {table}")


def _rewritten(said: Rewrites, table: str, column: str, before: Column) -> Effect:
    """What an ALTER … TYPE does; the statement, or one before it, may see to the values."""
    what = f"changes {table}.{column} from {before.type} to {said.type or 'another type'} by SQL"
    locks = "the table may be locked while it is rewritten"
    if fits(before.type, said.type):
        return Effect("rewrite", table, column, f"{what}: {locks}")
    words = f"{what}: a value that does not fit is changed or refused, and {locks}"
    return Effect("convert", table, column, words)


def _is_required(operation: AddColumnOp) -> bool:
    """Whether existing rows have no value for the column."""
    column = operation.column
    return (
        not column.nullable
        and column.server_default is None
        and column.computed is None
        and column.identity is None
    )


def _changes(operation: AddColumnOp) -> bool:
    """Whether the column's default is not the same for every row."""
    argument = getattr(operation.column.server_default, "arg", None)
    if argument is None or isinstance(argument, str):
        return False
    return not (isinstance(argument, TextClause) and _CONSTANT.fullmatch(argument.text.strip()))
