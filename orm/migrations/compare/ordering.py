"""The order of a revision's operations: the same from the same models, and one that can run."""

from collections.abc import Sequence

from alembic.operations.ops import DropTableOp, MigrateOperation, ModifyTableOps
from sqlalchemy import ForeignKeyConstraint

__all__ = ["ordered"]


def ordered(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """Drop tables last, when no column refers to them any more, and children before parents.

    Args:
        operations: what autogenerate found; it has the dropped tables in no order.
    """
    drops = {_key(drop): drop for drop in operations if isinstance(drop, DropTableOp)}
    of_dropped = [
        operation
        for operation in operations
        if isinstance(operation, DropTableOp | ModifyTableOps) and _key(operation) in drops
    ]
    parents = {key: _parents(drop) - {key} for key, drop in drops.items()}
    keys: list[tuple[str, str]] = []
    left = sorted(drops)
    while left:
        free = [key for key in left if not any(key in parents[other] for other in left)]
        keys += free or left  # a circle has no order
        left = [key for key in left if key not in keys]
    rest = [operation for operation in operations if operation not in of_dropped]
    return [*rest, *(one for key in keys for one in of_dropped if _key(one) == key)]


def _key(operation: DropTableOp | ModifyTableOps) -> tuple[str, str]:
    return operation.schema or "", operation.table_name


def _parents(drop: DropTableOp) -> set[tuple[str, str]]:
    return {
        (schema, name)
        for constraint in drop.to_table().constraints
        if isinstance(constraint, ForeignKeyConstraint)
        for *path, name, _ in [constraint.elements[0].target_fullname.split(".")]
        for schema in [".".join(path)]
    }
