"""What Alembic's operations do to the tables that a revision meets."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

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
    RenameTableOp,
)
from sqlalchemy import ARRAY, Column, DateTime, TextClause

from orm.backends.labels import labels_of, update_of_lost
from orm.backends.tokens import Lexer
from orm.migrations.compare.effects.effect import Effect
from orm.migrations.compare.effects.fitting import fits
from orm.migrations.compare.effects.said import DropsSchema, OnTables, Unnamed
from orm.migrations.compare.effects.statements import effects_on_rows, read
from orm.migrations.compare.effects.tables import Tables
from orm.migrations.compare.operations import table_of
from orm.migrations.internals import Recorded

__all__ = ["effects_of", "schemas_of"]

_CONSTANT: Final = re.compile(r"[-+]?[\d.]+|'(?:[^']|'')*'|NULL|TRUE|FALSE", re.IGNORECASE)


def effects_of(records: Iterable[Recorded], tables: Tables, lexer: Lexer) -> list[Effect]:
    """What operations would do to tables.

    Args:
        records: the operations, in their order.
        tables: those that the operations meet. Afterwards their names are those that the next
            operations meet.
        lexer: reads the statements among them.
    """
    return [effect for said in _said(records, lexer) for effect in _effects(said, tables)]


def schemas_of(records: Iterable[Recorded], lexer: Lexer) -> set[str]:
    """The schemas of the tables that operations name.

    Args:
        records: the operations.
        lexer: reads the statements among them.
    """
    return {_schema(said) for said in _said(records, lexer)} - {""}


def _schema(said: Recorded | OnTables) -> str:
    match said:
        case Recorded(operation=operation):
            return table_of(operation).rpartition(".")[0]
        case DropsSchema(schema=schema):
            return schema
        case Unnamed():
            return ""
        case _:
            return said.table.rpartition(".")[0]


def _said(records: Iterable[Recorded], lexer: Lexer) -> Iterator[Recorded | OnTables]:
    """Operations, and what statements among them amount to."""
    for record in records:
        if isinstance(record.operation, ExecuteSQLOp):
            for said in read(record.operation, lexer):
                if isinstance(said, MigrateOperation):
                    yield Recorded(said, batch=False)
                else:
                    yield said
        else:
            yield record


def _effects(said: Recorded | OnTables, tables: Tables) -> Iterator[Effect]:
    match said:
        case Recorded():
            yield from _of_operation(said, tables)
        case DropsSchema(schema=schema):
            for table in tables.of_schema(schema):
                yield from _of_operation(Recorded(DropTableOp(table), batch=False), tables)
        case Unnamed(what=what):
            yield Effect("drop_table", "", None, what)
        case _:
            yield from effects_on_rows(said, tables)


def _of_operation(record: Recorded, tables: Tables) -> Iterator[Effect]:
    operation = record.operation
    match operation:
        case AlterColumnOp():
            yield from _altered(operation, tables)
        case DropColumnOp():
            name = table_of(operation)
            if (was := tables.column(name, operation.column_name)) is not None:
                table, column, _ = was
                tables.drop_column(name, operation.column_name)
                yield Effect(
                    "drop_column", table, column, f"drops {table}.{column} and all its values"
                )
        case CreateTableOp():
            if record.batch:
                yield from _rebuilt(operation, tables)
        case _ if (before := tables.table(table_of(operation))) is not None:
            yield from _of_table(record, before, tables)


def _rebuilt(operation: CreateTableOp, tables: Tables) -> Iterator[Effect]:
    """What becomes of the columns of a table that a batch describes as it shall be."""
    name = table_of(operation)
    new = {one.name: one for one in operation.columns if isinstance(one, Column)}
    for column, _, was in list(tables.columns(name)):
        if (now := new.pop(column, None)) is None:
            changed: MigrateOperation = DropColumnOp(name, column)
        else:
            is_same = str(now.type) == was.type
            changed = AlterColumnOp(
                name,
                column,
                modify_type=None if is_same else now.type,
                modify_nullable=now.nullable,
            )
        yield from _of_operation(Recorded(changed, batch=True), tables)
    for added in new.values():
        yield from _of_operation(Recorded(AddColumnOp(name, added), batch=True), tables)


def _of_table(record: Recorded, table: str, tables: Tables) -> Iterator[Effect]:
    operation = record.operation
    match operation:
        case DropTableOp():
            tables.drop(table_of(operation))
            yield Effect("drop_table", table, None, f"drops {table} with all its rows")
        case RenameTableOp(new_table_name=new):
            name = table_of(operation)
            within, dot, _ = name.rpartition(".")
            tables.rename(name, f"{within}{dot}{new}")
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
    name = table_of(operation)
    if (was := tables.column(name, operation.column_name)) is None:
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
        update = update_of_lost(
            tables.before.dialect,
            (operation.schema, operation.table_name, operation.column_name),
            lost,
            is_array=isinstance(operation.existing_type, ARRAY),
        )
        yield Effect(
            "constraint",
            table,
            column,
            f"takes {', '.join(map(repr, lost))} from the enum of {where}: it fails if a row has "
            f"that. Update such rows in the same revision, right before it: {update}",
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
        tables.rename_column(name, operation.column_name, new)
        yield Effect(
            "rename",
            table,
            column,
            f"renames {where} to {new}: a program that still asks for {column} fails. To change "
            "over without a stop, add the new column, fill both, and drop the old one later",
        )


def _lost_labels(operation: AlterColumnOp) -> list[str]:
    """The labels that an enum, or an array of one, does not have any more."""
    old, new = labels_of(operation.existing_type), labels_of(operation.modify_type)
    return [label for label in old if label not in new] if new else []


def _converted(operation: AlterColumnOp) -> str:
    """What becomes of the values of a column that gets another type."""
    match operation.existing_type, operation.modify_type:
        case DateTime(timezone=False), DateTime(timezone=True):
            return (
                "values from before are read as times of the zone UTC (AT TIME ZONE 'UTC'): name "
                "another zone in the file if they were not written in this one"
            )
    return "a value that does not fit is cut off, changed or refused"


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
