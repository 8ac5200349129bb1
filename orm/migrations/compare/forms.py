"""Values that one SQL type keeps in several forms: a difference that no definition shows.

SQLAlchemy has two such types: an `Interval` is a date counted from 1970 where the engine has no
intervals, a `PickleType` is bytes. The database says DATETIME and BLOB of them. So what the
revisions say of the column is read beside it. So are the labels of an enum, where the engine has no
such types and keeps strings.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    RenameTableOp,
)
from sqlalchemy import Column, Dialect, Interval, PickleType, TypeDecorator
from sqlalchemy.types import TypeEngine

from orm.backends import Thing
from orm.backends.labels import labels_of, string_enum
from orm.migrations.compare.operations import table_of
from orm.migrations.compare.reading import operations_of
from orm.migrations.compare.replay import Replay
from orm.migrations.compare.types import called, code_of

__all__ = ["lost_labels", "other_forms"]

_FORMS: Final = (Interval, PickleType)
_Types = dict[str, dict[str, TypeEngine[Any]]]
"""Of the columns of each table."""


def other_forms(made: Replay, definitions: Mapping[Thing, str]) -> dict[Thing, tuple[str, str]]:
    """Columns whose values the models read in another form than the revisions keep them.

    Args:
        made: the revisions, replayed, and the models.
        definitions: what the revisions make.

    Returns:
        How the revisions, and the models, keep the values of each, as code.
    """
    dialect = made.connection.dialect
    columns = [column for table in made.metadata.tables.values() for column in table.columns]
    # Most projects have no such column, and their revisions need not be read.
    if made.folders or not (
        any(form.__name__ in file.text for form in _FORMS for file in made.files)
        or any(_form(column.type, dialect) for column in columns)
    ):
        return {}
    types = _said(made)
    found: dict[Thing, tuple[str, str]] = {}
    for column in columns:
        thing = Thing("column", column.table.fullname, column.name)
        # Where upper and lower case are the same, definitions have the lower one.
        lower = Thing("column", thing.table.lower(), thing.name.lower())
        there = definitions.get(thing, definitions.get(lower))
        said = types.get(thing.table, {}).get(thing.name)
        if there is not None and said is not None and _differ(said, column.type, there, dialect):
            found[thing] = (code_of(said).text, code_of(column.type).text)
    return found


def lost_labels(made: Replay) -> dict[Thing, tuple[TypeEngine[Any], TypeEngine[Any]]]:
    """Columns whose enum has lost a label, which rows may have, and the database does not know.

    Args:
        made: the revisions, replayed, and the models.

    Returns:
        What the revisions, and the models, say of each: an enum, or an array of one.
    """
    dialect = made.connection.dialect
    ours = {
        Thing("column", table.fullname, column.name): enum
        for table in made.metadata.tables.values()
        for column in table.columns
        if (enum := string_enum(column.type, dialect)) is not None
    }
    if not ours or made.folders:
        return {}
    types = _said(made)
    found: dict[Thing, tuple[TypeEngine[Any], TypeEngine[Any]]] = {}
    for thing, enum in ours.items():
        said = types.get(thing.table, {}).get(thing.name)
        before = string_enum(said, dialect)
        if before is not None and not set(labels_of(before)) <= set(labels_of(enum)):
            found[thing] = before, enum
    return found


def _differ(said: TypeEngine[Any], ours: TypeEngine[Any], there: str, dialect: Dialect) -> bool:
    """Whether values are to be brought from one form into another, for which there is no SQL.

    Args:
        said: the type that the revisions say.
        ours: that of the models.
        there: the column's definition; plain SQL may have changed what the revisions say.
        dialect: of the engine.
    """
    if type(said).__name__.isupper() or _form(said, dialect) == _form(ours, dialect):
        return False  # one that was reflected says no more than the database
    name = called(said, dialect)
    is_there = name is not None and there.lower().startswith(name.lower())
    return is_there and (_form(said, dialect) is not None or called(ours, dialect) == name)


def _form(type_: TypeEngine[Any], dialect: Dialect) -> type | None:
    """The type of SQLAlchemy by which an engine keeps values in the column of another type."""
    found = type_.dialect_impl(dialect)
    while isinstance(found, TypeDecorator):
        form = next((form for form in _FORMS if isinstance(found, form)), None)
        if form is not None:
            return form
        found = found.impl_instance.dialect_impl(dialect)
    return None


# What the revisions say --------------------------------------------------------------------


def _said(made: Replay) -> _Types:
    """The types of columns, as the revisions say them; without those that cannot be known."""
    types: _Types = {}
    for read in operations_of(made.application, made.files, made.connection.engine.url):
        for record in read.records:
            _follow(record.operation, types)
        if read.unknown is not None:
            types.clear()
    return types


def _follow(operation: MigrateOperation, types: _Types) -> None:
    table = table_of(operation)
    columns = types.setdefault(table, {})
    match operation:
        case CreateTableOp():
            types[table] = dict(_columns(operation))
        case DropTableOp():
            del types[table]
        case RenameTableOp(schema=schema, new_table_name=new):
            types[f"{schema}.{new}" if schema else new] = types.pop(table)
        case AddColumnOp(column=column):
            columns[column.name] = column.type
        case DropColumnOp(column_name=name):
            columns.pop(name, None)
        case AlterColumnOp(column_name=name, modify_type=type_, modify_name=new):
            if type_ is not None:
                columns[name] = type_ if isinstance(type_, TypeEngine) else type_()
            if new is not None and name in columns:
                columns[new] = columns.pop(name)


def _columns(creation: CreateTableOp) -> Iterator[tuple[str, TypeEngine[Any]]]:
    for column in creation.columns:
        if isinstance(column, Column):
            yield column.name, column.type
