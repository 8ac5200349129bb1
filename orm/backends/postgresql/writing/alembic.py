"""Which of Alembic's operations do on PostgreSQL what they seem to do."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateIndexOp,
    DropColumnOp,
    DropIndexOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import MetaData

from orm.backends.labels import only_labels_change
from orm.backends.postgresql.writing import ddl
from orm.backends.postgresql.writing.columns import SERIAL
from orm.backends.postgresql.writing.names import DIALECT, beside, mentions
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
    operations = list(operations)
    alone = {
        thing: made
        for thing in _made_without_a_lock(operations)
        if (made := list(_alone(thing, both, models)))
    }
    statements = [one for made in alone.values() for one in made]
    return Statements(statements, commits=True), _without(operations, alone)


def _made_without_a_lock(operations: Iterable[MigrateOperation]) -> Iterator[Thing]:
    """The indexes that are to be made so; none of those that stay among the operations can be."""
    for operation in operations:
        match operation:
            case ModifyTableOps(ops=inner):
                yield from _made_without_a_lock(inner)
            case CreateIndexOp(kw=options) if options.pop("postgresql_concurrently", False):
                yield _index(operation)


def _without(
    operations: Iterable[MigrateOperation], indexes: Collection[Thing]
) -> list[MigrateOperation]:
    rest: list[MigrateOperation] = []
    for operation in operations:
        match operation:
            case ModifyTableOps(ops=inner):
                operation.ops = _without(inner, indexes)
                if operation.ops:
                    rest.append(operation)
            case CreateIndexOp() | DropIndexOp() if _index(operation) in indexes:
                pass
            case _:
                rest.append(operation)
    return rest


def _index(operation: CreateIndexOp | DropIndexOp) -> Thing:
    table = str(operation.table_name)
    within = f"{operation.schema}.{table}" if operation.schema else table
    return Thing("index", within, str(operation.index_name))


def _alone(
    index: Thing,
    both: tuple[Mapping[Thing, str], Mapping[Thing, str]],
    models: MetaData,
) -> Iterator[str]:
    """The statements that make an index before all else; none if it cannot be the first."""
    old, new = both
    added = [
        one.name
        for one in new.keys() - old.keys()
        if one.kind == "column" and one.table == index.table
    ]
    is_there = Thing("table", index.table, index.table) in old
    if not is_there or mentions(new.get(index, ""), *added):
        return
    made = ddl.concurrently(models.tables[index.table], index)
    if made is None:
        return
    if index in old:
        yield f"DROP INDEX CONCURRENTLY IF EXISTS {beside(index)}"
    yield made
