"""What a revision does on SQLite where Alembic's operations do not do: rebuild the whole table.

SQLite can alter little of a table. Whatever differs, one way puts all of it right: a new table as
the models have it, into which the rows are copied (`orm.backends.sqlite.rebuild`).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.schema import conv

from orm.backends.operations import ForEngine, creation_of, rendered
from orm.backends.things import Thing

__all__ = ["with_rebuilds"]

_Left = Mapping[Thing, tuple[str | None, str | None]]


class _Rebuild(MigrateOperation):
    """Make a table what a table of the models is.

    Args:
        table: that of the models.
        dropped: the columns that it does not have any more.
    """

    def __init__(self, table: Table, dropped: Sequence[Column[Any]]) -> None:
        self.table = table
        self.dropped = dropped


@renderers.dispatch_for(_Rebuild)
def _render(context: AutogenContext, operation: _Rebuild) -> list[str]:
    creation = creation_of(operation.table)
    creation.columns = [*creation.columns, *operation.dropped]
    [text] = rendered(context, creation)
    _, _, arguments = text.partition("create_table(")
    name, _, arguments = arguments.partition(",\n")
    drops = [f"batch_op.drop_column({str(column.name)!r})" for column in operation.dropped]
    batch = f"op.batch_alter_table({name}, recreate='always', copy_from=table)"
    return [
        f"table = sa.Table({name}, sa.MetaData(),\n{arguments}",
        f"with {batch} as batch_op:" if drops else f"with {batch}:",
        *(drops or ["pass"]),
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
    needed = {
        str(inner.index_name).lower()
        for one in operations
        if _table_of(one) not in names
        for inner in (one.ops if isinstance(one, ModifyTableOps) else [one])
        if isinstance(inner, CreateIndexOp)
    }
    first = [
        one
        for one in rebuilds
        if isinstance(one, DropIndexOp) and str(one.index_name).lower() in needed
    ]
    rest = ForEngine("sqlite", [one for one in rebuilds if one not in first])
    return [*([ForEngine("sqlite", first)] if first else []), *kept, rest]


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
        columns = [one.to_column() for one in flat if isinstance(one, DropColumnOp)]
        yield _Rebuild(table, [Column(column.name, column.type) for column in columns])
    yield from creates.values()


def _table_of(operation: MigrateOperation) -> str:
    return str(getattr(operation, "table_name", "")).lower()
