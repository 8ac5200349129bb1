"""The tables of a database as models: what a checkpoint is written from."""

import warnings
from collections.abc import Collection, Mapping, Set
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    Connection,
    Constraint,
    Dialect,
    Identity,
    MetaData,
    Table,
    event,
    inspect,
)

from orm.backends import Thing

__all__ = ["tables_of"]


def tables_of(
    connection: Connection,
    models: MetaData,
    there: Mapping[Thing, str],
    by_models: Mapping[Thing, str],
    ours: Collection[str],
) -> MetaData:
    """The tables of a database, as the models define them wherever the engine sees no difference.

    Models say more than a database does: the types of other engines, for example.

    Args:
        connection: to the database.
        models: the models.
        there: `orm.backends.Migrations.definitions` of the database.
        by_models: those of a database in which the models made all.
        ours: names of tables to leave out.
    """
    same = {thing for thing, text in by_models.items() if there.get(thing) == text}
    other = {thing.table for thing in there.keys() | by_models.keys() if thing not in same}
    named: dict[Any, Any] = dict(models.naming_convention)
    found = MetaData(naming_convention={"ix": named["ix"]} if "ix" in named else None)
    schemas = {thing.table.rpartition(".")[0] for thing in there if thing.kind == "table"}
    for name, table in _reflected(connection, models, ours, schemas).tables.items():
        twin = models.tables.get(name)
        if twin is not None and other.isdisjoint({name, name.lower()}):
            _name_constraints(twin.to_metadata(found), twin, connection.dialect)
        else:
            copy = table.to_metadata(found)
            if twin is not None:
                _take_columns(copy, twin, same)
    return found


def _reflected(
    connection: Connection, models: MetaData, ours: Collection[str], schemas: Collection[str]
) -> MetaData:
    inspector, found = inspect(connection), MetaData()

    @event.listens_for(found, "column_reflect")
    def take_key(_: object, table: Table, column: dict[str, Any]) -> None:
        """By which foreign keys of the models name it."""
        twin = models.tables.get(table.fullname)
        if twin is not None:
            keys = {one.name: one.key for one in twin.columns}
            column["key"] = keys.get(column["name"], column["name"])

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type")  # the models' is taken, if any
        found.reflect(connection, only=lambda name, _: name not in ours)
        # Others are no part of the database, and may be other databases of the server.
        for schema in set(inspector.get_schema_names()).intersection(schemas):
            found.reflect(connection, schema=schema)
    return found


def _name_constraints(copy: Table, twin: Table, dialect: Dialect) -> None:
    """Give the constraints of a copy the names that the convention of the models gives them."""
    names: dict[object, str | None] = {}
    for constraint in twin.constraints:
        name = None
        if constraint.name is not None:  # a name that the convention is to give counts as one
            name = dialect.identifier_preparer.format_constraint(constraint)
        if name and name.startswith('"'):
            name = name[1:-1].replace('""', '"')
        names[_what(constraint)] = name
    for constraint in copy.constraints:
        constraint.name = names[_what(constraint)]


def _what(constraint: Constraint) -> tuple[object, ...]:
    if isinstance(constraint, CheckConstraint):
        return CheckConstraint, str(constraint.sqltext)
    columns = getattr(constraint, "columns", None)
    return type(constraint), *(columns.keys() if columns is not None else ())


def _take_columns(copy: Table, twin: Table, same: Set[Thing]) -> None:
    """The types, NULLs and defaults of columns in which there is no difference."""
    named = {column.name: column for column in twin.columns}  # a table has them by their keys
    for column in copy.columns:
        thing = Thing("column", twin.fullname, column.name)
        # Where upper and lower case are the same, definitions have the lower one.
        lower = Thing("column", twin.fullname.lower(), column.name.lower())
        of_model = named.get(column.name)
        if of_model is None or same.isdisjoint({thing, lower}):
            continue
        column.type, column.nullable = of_model.type, of_model.nullable
        if not isinstance(of_model.server_default, Computed | Identity):
            column.server_default = of_model.server_default
