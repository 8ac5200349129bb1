"""The order of a revision's operations: the same from the same models, and one that can run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    CreateForeignKeyOp,
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropConstraintOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import ForeignKeyConstraint, MetaData, Table
from sqlalchemy.schema import sort_tables_and_constraints

from orm.backends.operations import rendered

__all__ = ["ordered"]


class _WhereItCanAlter(MigrateOperation):
    """What is done to foreign keys where tables can be altered; elsewhere a table has its own."""

    def __init__(self, operations: Sequence[MigrateOperation]) -> None:
        self.operations = operations


@renderers.dispatch_for(_WhereItCanAlter)
def _render(context: AutogenContext, operation: _WhereItCanAlter) -> list[str]:
    inner = [line for one in operation.operations for line in rendered(context, one)]
    return ["if op.get_context().dialect.supports_alter:", *inner, ""]


def ordered(operations: Sequence[MigrateOperation], models: MetaData) -> list[MigrateOperation]:
    """Make tables first, parents before children; drop them last, children before parents.

    A foreign key that closes a circle is made when all tables are there, and dropped before them.
    What has a name that another table's needs is dropped first.

    Args:
        operations: what autogenerate found; it has the dropped tables in no order, nor what goes
            from a table or what comes to refer to another one.
        models: the models.
    """
    made = list(_made([o for o in operations if isinstance(o, CreateTableOp)], models))
    operations = list(operations)
    freed = list(_freed(operations))
    dropped = list(_dropped(operations))
    drops = {_key(one) for one in operations if isinstance(one, DropTableOp)}
    rest = [
        operation
        for operation in operations
        if not isinstance(operation, CreateTableOp)
        and not (isinstance(operation, DropTableOp | ModifyTableOps) and _key(operation) in drops)
    ]
    for operation in [*freed, *rest]:
        if isinstance(operation, ModifyTableOps):
            _settle(operation.ops)
    return [*freed, *made, *rest, *dropped]


def _settle(operations: list[MigrateOperation]) -> None:
    """Put in order the columns and the foreign keys that go, and the foreign keys that come."""
    for is_one, key in _IN_NO_ORDER:
        places = [at for at, one in enumerate(operations) if is_one(one)]
        in_order = sorted((operations[at] for at in places), key=key)
        for at, one in zip(places, in_order, strict=True):
            operations[at] = one


_IN_NO_ORDER: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...]] = (
    (lambda one: isinstance(one, DropColumnOp), lambda drop: drop.column_name),
    (
        lambda one: isinstance(one, DropConstraintOp) and one.constraint_type == "foreignkey",
        lambda drop: str(drop.constraint_name),
    ),
    (
        lambda one: isinstance(one, CreateForeignKeyOp),
        lambda made: (made.local_cols, made.referent_table, made.remote_cols),
    ),
)
"""Whether an operation is of a kind that autogenerate takes out of a set, and its place then."""


# Names -------------------------------------------------------------------------------------


def _freed(operations: list[MigrateOperation]) -> Iterator[MigrateOperation]:
    """Take out of some operations what drops a thing whose name another table's gets."""
    flat = [
        inner
        for one in operations
        for inner in (one.ops if isinstance(one, ModifyTableOps) else [one])
    ]
    needed = {
        (str(one.index_name), one.table_name) for one in flat if isinstance(one, CreateIndexOp)
    } | {
        (str(constraint.name), one.table_name)
        for one in operations
        if isinstance(one, CreateTableOp)
        for constraint in one.to_table().constraints
        if constraint.name is not None
    }

    def is_in_the_way(one: MigrateOperation) -> bool:
        match one:
            case DropIndexOp(index_name=name, table_name=table):
                pass
            case DropConstraintOp(constraint_name=name, table_name=table):
                pass
            case _:
                return False
        return any(name == new and table != other for new, other in needed)

    for one in list(operations):
        if isinstance(one, ModifyTableOps):
            drops = [inner for inner in one.ops if is_in_the_way(inner)]
            if drops:
                one.ops = [inner for inner in one.ops if inner not in drops]
                yield ModifyTableOps(one.table_name, drops, schema=one.schema)
                if not one.ops:
                    operations.remove(one)
        elif is_in_the_way(one):
            operations.remove(one)
            yield one


# Made --------------------------------------------------------------------------------------


def _made(creations: Sequence[CreateTableOp], models: MetaData) -> Iterator[MigrateOperation]:
    by_key = {creation.to_table().key: creation for creation in creations}
    # As `create_all` has them: one may need another that it has no foreign key to.
    tables = [table for key, table in models.tables.items() if key in by_key]
    later: list[ForeignKeyConstraint] = []
    in_order: list[tuple[Table | None, Sequence[ForeignKeyConstraint]]]
    in_order = sort_tables_and_constraints(tables)  # type: ignore[no-untyped-call]
    for table, keys in in_order:
        if table is None:
            later = sorted(keys, key=_order)
    for table, _ in in_order:
        if table is not None:
            creation = by_key[table.key]
            creation.columns = [
                _added_later(part)
                if isinstance(part, ForeignKeyConstraint) and part in later
                else part
                for part in creation.columns
            ]
            yield creation
    if later:
        yield _WhereItCanAlter([_creation(key) for key in later])


def _order(key: ForeignKeyConstraint) -> tuple[str, Sequence[str]]:
    return key.table.key, key.column_keys


def _added_later(key: ForeignKeyConstraint) -> ForeignKeyConstraint:
    """The same reference, which only an engine that cannot alter tables makes with the table."""
    return ForeignKeyConstraint(
        [element.parent.name for element in key.elements],
        [element.target_fullname for element in key.elements],
        name=key.name,
        onupdate=key.onupdate,
        ondelete=key.ondelete,
        deferrable=key.deferrable,
        initially=key.initially,
        match=key.match,
        use_alter=True,
        **key.dialect_kwargs,
    )


def _creation(key: ForeignKeyConstraint) -> CreateForeignKeyOp:
    creation = CreateForeignKeyOp.from_constraint(key)
    creation.kw.pop("use_alter", None)
    return creation


# Dropped -----------------------------------------------------------------------------------


def _dropped(operations: Sequence[MigrateOperation]) -> Iterator[MigrateOperation]:
    drops = {_key(drop): drop for drop in operations if isinstance(drop, DropTableOp)}
    parents = {key: _parents(drop) - {key} for key, drop in drops.items()}
    keys: list[tuple[str, str]] = []
    left = sorted(drops)
    while left:
        free = [key for key in left if not any(key in parents[other] for other in left)]
        if not free:
            yield from _opened([drops[key] for key in left])
            free = left
        keys += free
        left = [key for key in left if key not in keys]
    for key in keys:
        yield from (
            one
            for one in operations
            if isinstance(one, DropTableOp | ModifyTableOps) and _key(one) == key
        )


def _opened(circle: Sequence[DropTableOp]) -> Iterator[MigrateOperation]:
    """Drop what holds together tables that refer to each other."""
    within = {_key(drop) for drop in circle}
    drops = [
        DropConstraintOp.from_constraint(key)
        for drop in circle
        for key in sorted(drop.to_table().foreign_key_constraints, key=_order)
        if key.name is not None and _parent(key) in within - {_key(drop)}
    ]
    if drops:
        yield _WhereItCanAlter(drops)


def _key(operation: DropTableOp | ModifyTableOps) -> tuple[str, str]:
    return operation.schema or "", operation.table_name


def _parents(drop: DropTableOp) -> set[tuple[str, str]]:
    return {_parent(key) for key in drop.to_table().foreign_key_constraints}


def _parent(key: ForeignKeyConstraint) -> tuple[str, str]:
    *path, name, _ = key.elements[0].target_fullname.split(".")
    return ".".join(path), name
