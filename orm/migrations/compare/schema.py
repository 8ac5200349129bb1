"""The tables of a database as models: what a checkpoint is written from."""

from collections.abc import Collection

from sqlalchemy import Computed, Connection, Identity, MetaData, Table, inspect

from orm.backends import Thing
from orm.migrations.compare.models import Sides

__all__ = ["tables_of"]


def tables_of(
    connection: Connection, models: MetaData, both: Sides, ours: Collection[str]
) -> MetaData:
    """The tables of a database, as the models define them wherever the engine sees no difference.

    Models say more than a database does: the types of other engines, for example.

    Args:
        connection: to the database.
        models: the models.
        both: what the database (``revisions``) and the models define.
        ours: names of tables to leave out.
    """
    there = _reflected(connection, ours)
    found = MetaData()
    for name, table in there.tables.items():
        twin = models.tables.get(name)
        if twin is not None and _is_same(twin, both):
            twin.to_metadata(found)
        else:
            copy = table.to_metadata(found)
            if twin is not None:
                _take_columns(copy, twin, both)
    return found


def _reflected(connection: Connection, ours: Collection[str]) -> MetaData:
    inspector, found = inspect(connection), MetaData()
    for schema in inspector.get_schema_names():
        if schema == inspector.default_schema_name:
            found.reflect(connection, only=lambda name, _: name not in ours)
        elif schema != "information_schema":
            found.reflect(connection, schema=schema)
    return found


def _is_same(table: Table, both: Sides) -> bool:
    """Whether nothing of a table differs."""
    names = {table.fullname, table.fullname.lower()}
    things = {thing for thing in both.revisions.keys() | both.models.keys() if thing.table in names}
    return all(both.revisions.get(thing) == both.models.get(thing) for thing in things)


def _take_columns(copy: Table, twin: Table, both: Sides) -> None:
    """The types and defaults of columns in which there is no difference."""
    for column in copy.columns:
        if column.name not in twin.columns:
            continue
        old, new = both.of(Thing("column", twin.fullname, column.name))
        if old is None or old != new:
            continue
        of_model = twin.columns[column.name]
        column.type = of_model.type
        if not isinstance(of_model.server_default, Computed | Identity):
            column.server_default = of_model.server_default
