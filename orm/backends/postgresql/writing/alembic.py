"""Which of Alembic's operations do on PostgreSQL what they seem to do."""

from collections.abc import Iterable, Mapping

from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    MigrateOperation,
    ModifyTableOps,
)

from orm.backends.migrations import Thing
from orm.backends.postgresql.writing.columns import SERIAL

__all__ = ["is_enough"]


def is_enough(operations: Iterable[MigrateOperation], new: Mapping[Thing, str]) -> bool:
    """Whether all of some operations are fit to be tried.

    What shows without rows, a replay finds. With rows, a new type may round values, and a new
    column that counts has no value in the rows that are there.

    Args:
        operations: what autogenerate found.
        new: what there is to be (`Migrations.definitions`).
    """
    return all(_is_fit(operation, new) for operation in operations)


def _is_fit(operation: MigrateOperation, new: Mapping[Thing, str]) -> bool:
    match operation:
        case ModifyTableOps(ops=operations):
            return is_enough(operations, new)
        case AlterColumnOp(modify_type=kind):
            return kind is None
        case AddColumnOp(table_name=table, schema=schema, column=column):
            within = f"{schema}.{table}" if schema else table
            text = new.get(Thing("column", within, column.name), "")
            return not text.endswith(f"default {SERIAL}")
        case _:
            return True
