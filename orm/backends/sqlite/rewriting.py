"""What a revision does on SQLite where Alembic's operations do not do: rebuild the whole table.

SQLite can alter little of a table. Whatever differs, one way puts all of it right: a new table as
the models have it, into which the rows are copied (`orm.backends.sqlite.rebuild`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    CreateIndexOp,
    CreateTableOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import MetaData, Table
from sqlalchemy.schema import conv

from orm.backends.migrations import Thing
from orm.backends.operations import ForEngine, creation_of, rendered

__all__ = ["with_rebuilds"]

_Left = Mapping[Thing, tuple[str | None, str | None]]


class _Rebuild(MigrateOperation):
    """Make a table what a table of the models is."""

    def __init__(self, table: Table) -> None:
        self.table = table


@renderers.dispatch_for(_Rebuild)
def _render(context: AutogenContext, operation: _Rebuild) -> list[str]:
    [creation] = rendered(context, creation_of(operation.table))
    _, _, arguments = creation.partition("create_table(")
    name, _, arguments = arguments.partition(",\n")
    return [
        f"table = sa.Table({name}, sa.MetaData(),\n{arguments}",
        f"with op.batch_alter_table({name}, recreate='always', copy_from=table):",
        "pass",
        "",
    ]


def with_rebuilds(
    left: _Left, operations: Sequence[MigrateOperation], models: MetaData
) -> Sequence[MigrateOperation] | None:
    """All operations of a revision, with a rebuild of each table that differs after them.

    Args:
        left: the things that differ (`orm.backends.Migrations.operations_for`).
        operations: what the revision does so far; other engines still do it.
        models: the models.

    Returns:
        The operations; None if no table can be rebuilt.
    """
    made = {_table_of(one) for one in operations if isinstance(one, CreateTableOp | DropTableOp)}
    ours = {table.name.lower(): table for table in models.tables.values() if table.schema is None}
    names = sorted({thing.table for thing in left} & ours.keys() - made)
    if not names:
        return None
    kept: list[MigrateOperation] = []
    for rebuilt, group in groupby(operations, lambda one: _table_of(one) in names):
        ours_now = list(group)
        kept += [ForEngine("sqlite", ours_now, others=True)] if rebuilt else ours_now
    rebuilds = [one for name in names for one in _rebuild(ours[name], left, operations)]
    return [*kept, ForEngine("sqlite", rebuilds)]


def _rebuild(
    table: Table, left: _Left, operations: Sequence[MigrateOperation]
) -> Iterator[MigrateOperation]:
    """The rebuild, and what is to be done about the table's indexes."""
    name = table.name.lower()
    flat = [
        inner
        for one in operations
        if _table_of(one) == name
        for inner in (one.ops if isinstance(one, ModifyTableOps) else [one])
    ]
    drops = {str(one.index_name).lower(): one for one in flat if isinstance(one, DropIndexOp)}
    creates = {str(one.index_name).lower(): one for one in flat if isinstance(one, CreateIndexOp)}
    indexes = {str(index.name).lower(): index for index in table.indexes}
    for thing in sorted(left):
        if thing.kind == "index" and thing.table == name:
            old, new = left[thing]
            if old is not None:
                drops.setdefault(thing.name, DropIndexOp(conv(thing.name), table.name))
            if new is not None and thing.name in indexes:
                index = CreateIndexOp.from_index(indexes[thing.name])
                creates.setdefault(thing.name, index)
    yield from drops.values()
    if any(thing.table == name and thing.kind != "index" for thing in left):
        yield _Rebuild(table)
    yield from creates.values()


def _table_of(operation: MigrateOperation) -> str:
    return str(getattr(operation, "table_name", "")).lower()
