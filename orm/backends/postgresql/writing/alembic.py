"""Which of Alembic's operations do on PostgreSQL what they seem to do."""

from collections.abc import Iterable, Mapping

from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateIndexOp,
    DropColumnOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import MetaData

from orm.backends.labels import only_labels_change
from orm.backends.postgresql.writing import ddl
from orm.backends.postgresql.writing.columns import SERIAL
from orm.backends.postgresql.writing.names import DIALECT, mentions
from orm.backends.postgresql.writing.statements import Statements
from orm.backends.things import Thing

__all__ = ["concurrently", "is_enough"]


def is_enough(
    operations: Iterable[MigrateOperation], both: tuple[Mapping[Thing, str], Mapping[Thing, str]]
) -> bool:
    """Whether all of some operations are fit to be tried.

    What shows without rows, a replay finds. With rows, a new type may round values, and a new
    column that counts has no value in the rows that are there. A column that a table inherits,
    Alembic takes for one that the models lack.

    Args:
        operations: what autogenerate found.
        both: what there is, and what there is to be (`Migrations.definitions`).
    """
    return all(_is_fit(operation, both) for operation in operations)


def _is_fit(
    operation: MigrateOperation, both: tuple[Mapping[Thing, str], Mapping[Thing, str]]
) -> bool:
    match operation:
        case ModifyTableOps(ops=operations):
            return is_enough(operations, both)
        case DropColumnOp(table_name=table, schema=schema, column_name=name):
            return Thing("column", f"{schema}.{table}" if schema else table, name) in both[0]
        case AlterColumnOp(existing_type=before, modify_type=kind):
            return kind is None or only_labels_change(before, kind, DIALECT)
        case AddColumnOp(table_name=table, schema=schema, column=column):
            within = f"{schema}.{table}" if schema else table
            text = both[1].get(Thing("column", within, column.name), "")
            return not text.endswith(f"default {SERIAL}")
        case _:
            return True


def concurrently(
    operations: Iterable[MigrateOperation],
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> tuple[Statements, list[MigrateOperation]]:
    """Take out the indexes that can be made without a lock, and are to be.

    One on a new table needs none, and one on a new column has to follow it in its transaction.

    Args:
        operations: what autogenerate found.
        both: what there is, and what there is to be (`Migrations.definitions`).
        models: the models.

    Returns:
        The statements that make them, outside of a transaction; and the other operations.
    """
    statements: list[str] = []
    rest: list[MigrateOperation] = []
    for operation in operations:
        match operation:
            case ModifyTableOps(ops=inner):
                made, operation.ops = concurrently(inner, both, models)
                statements += made.statements
                if operation.ops:
                    rest.append(operation)
            case CreateIndexOp(kw=options) if options.pop("postgresql_concurrently", False):
                made_alone = _alone(operation, both, models)
                if made_alone is None:
                    rest.append(operation)
                else:
                    statements.append(made_alone)
            case _:
                rest.append(operation)
    return Statements(statements, commits=True), rest


def _alone(
    operation: CreateIndexOp,
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> str | None:
    """The statement that makes an index before all else; None if it cannot be the first."""
    schema, name = operation.schema, operation.table_name
    table = f"{schema}.{name}" if schema else name
    thing = Thing("index", table, str(operation.index_name))
    old, new = both
    added = [
        one.name for one in new.keys() - old.keys() if one.kind == "column" and one.table == table
    ]
    is_there = Thing("table", table, table) in old and thing not in old
    if not is_there or mentions(new.get(thing, ""), *added):
        return None
    return ddl.concurrently(models.tables[table], thing)
