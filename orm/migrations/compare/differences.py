"""Where models, revisions and a database do not say the same."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from alembic.operations.ops import (
    AddColumnOp,
    AddConstraintOp,
    AlterColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropConstraintOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
)
from sqlalchemy import Connection, Inspector, MetaData, inspect

from orm.backends import Thing, migrations_for
from orm.migrations.compare.effects import flat
from orm.migrations.compare.scratch import Shadow

__all__ = ["Difference", "drift", "of_models", "without_index"]

_CREATE: Final = "make a revision with orm migrations create"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same on two sides.

    Attributes:
        kind: for programs: the models have it otherwise than the revisions (``model``), or only
            the revisions have it (``revision``); a foreign key lacks an index (``foreign_key``);
            the database has it otherwise than the applied revisions (``drift``).
        subject: what it is about, such as ``column users.email``.
        message: a sentence.
    """

    kind: Literal["model", "revision", "foreign_key", "drift"]
    subject: str
    message: str


# Models and revisions ----------------------------------------------------------------------


def of_models(shadow: Shadow) -> list[Difference]:
    """What the models say and no revision makes, and the other way round.

    Args:
        shadow: with all revisions.
    """
    operations = [record.operation for record in flat(shadow.compare())]
    whole = {o.table_name for o in operations if isinstance(o, CreateTableOp | DropTableOp)}
    found = [
        _described(operation)
        for operation in operations
        if isinstance(operation, CreateTableOp | DropTableOp) or _table(operation) not in whole
    ]
    return [*found, *_checks(shadow)]


def _table(operation: MigrateOperation) -> str:
    name = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    return str(name)


def _described(operation: MigrateOperation) -> Difference:
    table = _table(operation)
    match operation:
        case CreateTableOp():
            return _only_in_models(Thing("table", table, table))
        case DropTableOp():
            return _only_in_revisions(Thing("table", table, table))
        case AddColumnOp(column=column):
            return _only_in_models(Thing("column", table, column.name))
        case DropColumnOp(column_name=name):
            return _only_in_revisions(Thing("column", table, name))
        case CreateIndexOp(index_name=name):
            return _only_in_models(Thing("index", table, str(name)))
        case DropIndexOp(index_name=name):
            return _only_in_revisions(Thing("index", table, str(name)))
        case AddConstraintOp():
            return _only_in_models(Thing("constraint", table, str(operation.to_constraint().name)))
        case DropConstraintOp(constraint_name=name):
            return _only_in_revisions(Thing("constraint", table, str(name)))
        case AlterColumnOp(column_name=name):
            return _otherwise(Thing("column", table, name), "; ".join(_changes(operation)))
        case _:
            return _otherwise(Thing("table", table, table), str(operation.to_diff_tuple()))


def _changes(operation: AlterColumnOp) -> Iterator[str]:
    if operation.modify_type is not None:
        yield f"its type is {operation.existing_type!r} there and {operation.modify_type!r} here"
    if operation.modify_nullable is not None:
        yield "it may be NULL here" if operation.modify_nullable else "it is NOT NULL here"
    if operation.modify_server_default is not False:
        here = getattr(operation.modify_server_default, "arg", None)
        there = getattr(operation.existing_server_default, "arg", None)
        yield f"its default is {_or_none(there)} there and {_or_none(here)} here"
    if operation.modify_comment is not False:
        yield f"its comment is {operation.modify_comment!r} here"


def _or_none(default: object) -> str:
    return "none" if default is None else str(default)


def _checks(shadow: Shadow) -> Iterator[Difference]:
    """CHECK constraints, which Alembic does not compare: against what the models would make."""
    url = shadow.connection.engine.url
    migrations = migrations_for(url)
    with migrations.scratch(url) as connection:
        shadow.metadata.create_all(connection)
        wanted = migrations.definitions(connection)
    made = migrations.definitions(shadow.connection)
    tables = {thing for thing in wanted.keys() & made.keys() if thing.kind == "table"}

    def checks(definitions: Mapping[Thing, str]) -> dict[Thing, str]:
        return {
            thing: definition
            for thing, definition in definitions.items()
            if definition.startswith("check ")
            and Thing("table", thing.table, thing.table) in tables
        }

    yield from _compare(
        checks(made),
        checks(wanted),
        only_left=_only_in_revisions,
        only_right=_only_in_models,
        differs=lambda thing, there, here: _otherwise(
            thing, f"it is {there} there and {here} here"
        ),
    )


def _only_in_models(thing: Thing) -> Difference:
    return Difference(
        "model", str(thing), f"{thing} is in the models, and no revision makes it: {_CREATE}"
    )


def _only_in_revisions(thing: Thing) -> Difference:
    return Difference(
        "revision",
        str(thing),
        f"{thing} is made by the revisions, and the models do not have it: add it to them, or "
        f"have it dropped: {_CREATE}",
    )


def _otherwise(thing: Thing, how: str) -> Difference:
    return Difference(
        "model",
        str(thing),
        f"{thing} is another one in the revisions (there) than in the models (here): {how}: "
        f"{_CREATE}",
    )


# Foreign keys ------------------------------------------------------------------------------


def without_index(connection: Connection, models: MetaData) -> list[Difference]:
    """The foreign keys that no index begins with; `orm.Base` says why each should have one.

    Args:
        connection: to the tables.
        models: where a table may have opted out.
    """
    inspector = inspect(connection)
    return [
        Difference(
            "foreign_key",
            f"{table}.{'_'.join(columns)}",
            f"no index begins with {table} ({', '.join(columns)}), and it is a foreign key: each "
            f"delete of a parent row reads all of {table}. orm.Base adds such an index to the "
            "models by itself",
        )
        for table in inspector.get_table_names()
        if table not in models.tables or models.tables[table].info.get("index_foreign_keys", True)
        for columns in (key["constrained_columns"] for key in inspector.get_foreign_keys(table))
        if not any(
            set(columns) == set(indexed[: len(columns)]) for indexed in _indexed(inspector, table)
        )
    ]


def _indexed(inspector: Inspector, table: str) -> Iterator[Sequence[str | None]]:
    yield inspector.get_pk_constraint(table)["constrained_columns"]
    for unique in inspector.get_unique_constraints(table):
        yield unique["column_names"]
    for index in inspector.get_indexes(table):
        if not any(option.endswith("_where") for option in index.get("dialect_options", ())):
            yield index["column_names"]


# Revisions and a database ------------------------------------------------------------------


def drift(
    made: Mapping[Thing, str], database: Mapping[Thing, str], ours: Collection[str]
) -> list[Difference]:
    """What somebody has changed by hand.

    Args:
        made: `orm.backends.Migrations.definitions` of what the applied revisions make.
        database: those of the database.
        ours: names of tables to leave out.
    """

    def compared(definitions: Mapping[Thing, str]) -> dict[Thing, str]:
        return {thing: text for thing, text in definitions.items() if thing.table not in ours}

    def differs(thing: Thing, left: str, right: str) -> str:
        return f"{thing} is {right!r} in the database, and the applied revisions make it {left!r}"

    return list(
        _compare(
            compared(made),
            compared(database),
            only_left=lambda thing: Difference(
                "drift",
                str(thing),
                f"{thing} is made by the applied revisions, and is gone from the database",
            ),
            only_right=lambda thing: Difference(
                "drift",
                str(thing),
                f"{thing} is in the database, and no applied revision makes it",
            ),
            differs=lambda thing, *two: Difference("drift", str(thing), differs(thing, *two)),
        )
    )


def _compare(
    left: Mapping[Thing, str],
    right: Mapping[Thing, str],
    *,
    only_left: Callable[[Thing], Difference],
    only_right: Callable[[Thing], Difference],
    differs: Callable[[Thing, str, str], Difference],
) -> Iterator[Difference]:
    """What two sides do not have in common; of a table that only one has, the table alone."""
    for one, other, describe in ((left, right, only_left), (right, left, only_right)):
        alone = [thing for thing in one if thing not in other]
        tables = {thing.table for thing in alone if thing.kind == "table"}
        yield from (
            describe(thing) for thing in alone if thing.kind == "table" or thing.table not in tables
        )
    for thing, text in left.items():
        if thing in right and right[thing] != text:
            yield differs(thing, text, right[thing])
