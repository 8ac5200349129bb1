"""Operations for what Alembic's autogenerate does not find: CHECKs, indexes, labels of enums."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from alembic.operations.ops import (
    AddConstraintOp,
    AlterColumnOp,
    CreateCheckConstraintOp,
    CreateIndexOp,
    CreateTableOp,
    DropConstraintOp,
    DropIndexOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import Index, MetaData, Table
from sqlalchemy.schema import conv

from orm.backends import Thing
from orm.backends.operations import checks_of, creation_of
from orm.migrations.compare.models import Sides
from orm.migrations.compare.operations import flat, table_of

__all__ = ["complete"]


@dataclass
class _Found:
    """Operations to put before those of autogenerate, and after them."""

    before: list[MigrateOperation] = field(default_factory=list)
    after: list[MigrateOperation] = field(default_factory=list)


def complete(
    operations: Sequence[MigrateOperation], both: Sides, models: MetaData
) -> list[MigrateOperation]:
    """Add to the operations of autogenerate what it does not find; leave out the needless ones.

    What stays in place is dropped first, since its columns may go; what is made comes last, when
    all columns are there.

    Args:
        operations: what autogenerate found.
        both: what the revisions and the models make.
        models: the models.
    """
    found = _Found()
    operations = list(_needed(operations, both))
    for at, operation in enumerate(operations):
        if isinstance(operation, CreateTableOp):
            within = f"{operation.schema}." if operation.schema else ""
            operations[at] = creation_of(models.tables[within + operation.table_name])
    tables = {
        table.fullname if table.fullname in both.tables else table.name.lower(): table
        for table in models.tables.values()
    }
    made = {thing.table for thing in both.models if thing.kind == "table"}
    for name in sorted(made & tables.keys()):
        if name in both.tables:
            _checks(tables[name], _differing(both, "constraint", name), both, found)
        known = {
            str(record.operation.index_name).lower()
            for record in flat(operations)
            if isinstance(record.operation, CreateIndexOp | DropIndexOp)
        }
        things = [t for t in _differing(both, "index", name) if t.name.lower() not in known]
        _indexes(tables[name], things, both, found)
    return [*found.before, *operations, *_labels(operations, both), *found.after]


def _needed(operations: Iterable[MigrateOperation], both: Sides) -> Iterator[MigrateOperation]:
    """The operations but those on what is the same on both sides, to which Alembic is blind."""
    for operation in operations:
        match operation:
            case ModifyTableOps():
                operation.ops = list(_needed(operation.ops, both))
                if operation.ops:
                    yield operation
            case DropConstraintOp(constraint_name=None):
                pass  # there is no statement that drops it
            case AddConstraintOp() | DropConstraintOp():
                if _differing(both, "constraint", table_of(operation)):
                    yield operation
            case _ if (thing := _changed(operation)) is None or not _is_same(thing, both):
                yield operation


def _changed(operation: MigrateOperation) -> Thing | None:
    match operation:
        case AlterColumnOp(column_name=name):
            kind = "column"
        case CreateIndexOp(index_name=name) | DropIndexOp(index_name=name):
            kind = "index"
        case _:
            return None
    return Thing(kind, table_of(operation), str(name))


def _is_same(thing: Thing, both: Sides) -> bool:
    old, new = both.of(thing)
    return new is not None and old == new


def _differing(both: Sides, kind: str, table: str) -> list[Thing]:
    things = both.revisions.keys() | both.models.keys()
    tables = (table, table.lower())  # which definitions have where case makes no difference
    return sorted(
        thing
        for thing in things
        if thing.kind == kind
        and thing.table in tables
        and both.revisions.get(thing) != both.models.get(thing)
    )


def _labels(operations: Sequence[MigrateOperation], both: Sides) -> Iterator[MigrateOperation]:
    """What says that an enum has lost labels, and fails if a row has one."""
    known = {
        Thing("column", table_of(record.operation), record.operation.column_name): record.operation
        for record in flat(operations)
        if isinstance(record.operation, AlterColumnOp) and record.operation.modify_type is not None
    }
    for thing, (old, new) in both.labels.items():
        if thing in known:
            # The database knows the string alone, and a type of one's own is an enum there.
            known[thing].existing_type, known[thing].modify_type = old, new
            continue
        schema, _, name = thing.table.rpartition(".")
        alter = AlterColumnOp(
            name, thing.name, schema=schema or None, existing_type=old, modify_type=new
        )
        yield ModifyTableOps(name, [alter], schema=schema or None)


# CHECKs ------------------------------------------------------------------------------------


def _checks(table: Table, things: Sequence[Thing], both: Sides, found: _Found) -> None:
    ours = {str(check.name).lower(): check for check in checks_of(table) if check.name}
    drop: list[MigrateOperation] = []
    create: list[MigrateOperation] = []
    for thing in things:
        old, new = both.revisions.get(thing, ""), both.models.get(thing, "")
        check = ours.get(thing.name.lower())
        if new.startswith("check") and check is None:
            continue  # it has no name, or a type makes it
        if old.startswith("check") and thing.name != old:
            name = conv(thing.name) if check is None else check.name
            drop.append(DropConstraintOp(name, table.name, "check", schema=table.schema))
        if check is not None and new.startswith("check"):
            create.append(CreateCheckConstraintOp.from_constraint(check))
    if drop:
        found.before.append(ModifyTableOps(table.name, drop, schema=table.schema))
    if create:
        found.after.append(ModifyTableOps(table.name, create, schema=table.schema))


# Indexes -----------------------------------------------------------------------------------


def _indexes(table: Table, things: Sequence[Thing], both: Sides, found: _Found) -> None:
    ours: Mapping[str, Index] = {str(index.name).lower(): index for index in table.indexes}
    for thing in things:
        index = ours.get(thing.name.lower())
        if thing in both.revisions:
            name = conv(thing.name) if index is None else str(index.name)
            found.before.append(DropIndexOp(name, table.name, schema=table.schema))
        if index is not None and thing in both.models:
            found.after.append(CreateIndexOp.from_index(index))
