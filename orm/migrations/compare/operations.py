"""Alembic's operations, one by one: each with its table."""

from collections.abc import Iterable, Iterator

from alembic.operations.ops import MigrateOperation, ModifyTableOps

from orm.migrations.internals import Recorded

__all__ = ["flat", "table_of"]


def flat(operations: Iterable[MigrateOperation], *, batch: bool = False) -> Iterator[Recorded]:
    """The operations that autogenerate found, as a revision would call them."""
    for operation in operations:
        if isinstance(operation, ModifyTableOps):
            yield from flat(operation.ops, batch=True)
        else:
            yield Recorded(operation, batch)


def table_of(operation: MigrateOperation) -> str:
    """The name of an operation's table, with that of its schema if it has one."""
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    within = getattr(operation, "schema", None) or getattr(operation, "source_schema", None)
    return f"{within}.{table}" if within else str(table)
