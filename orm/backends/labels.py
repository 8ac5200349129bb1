"""Enums that a database keeps as strings: it does not know their labels."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Enum,
    String,
    TypeDecorator,
    column,
    func,
    select,
    table,
)
from sqlalchemy.types import TypeEngine, to_instance

from orm.backends.literals import literals
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations.ops import MigrateOperation

__all__ = ["only_labels_change", "refuse_lost_labels", "relabelling", "string_enum"]

_Type = TypeEngine[Any] | type[TypeEngine[Any]] | None


def string_enum(type_: _Type, dialect: Dialect) -> Enum | None:
    """The enum that a type is, if a database keeps it as a string without a CHECK.

    Args:
        type_: the type.
        dialect: of the database.
    """
    if type_ is None:
        return None
    found = to_instance(type_).dialect_impl(dialect)
    while isinstance(found, TypeDecorator):
        found = found.impl_instance.dialect_impl(dialect)
    if not isinstance(found, Enum) or found.create_constraint:
        return None
    return None if found.native_enum and dialect.supports_native_enum else found


def only_labels_change(old: _Type, new: _Type, dialect: Dialect) -> bool:
    """Whether two types are enums that are the same string to the database.

    Args:
        old: a type.
        new: the one that takes its place.
        dialect: of the database.
    """
    before, after = string_enum(old, dialect), string_enum(new, dialect)
    if before is None or after is None:
        return False
    return before.compile(dialect=dialect) == after.compile(dialect=dialect)


def refuse_lost_labels(
    connection: Connection,
    where: tuple[str | None, str, str],
    old: _Type,
    new: _Type,
    exact: Callable[[ColumnElement[str]], ColumnElement[str]] = lambda value: value,
) -> None:
    """See that no row has a label that an enum is to lose.

    Args:
        connection: to the database.
        where: the schema, the table and the column.
        old: the type of the column; only an enum that is kept as a string is looked at.
        new: the one that it gets.
        exact: makes of the column what differs wherever two strings differ.

    Raises:
        MigrationError: a row has one; names each, and how many rows have it.
    """
    before, after = (string_enum(one, connection.dialect) for one in (old, new))
    if before is None or after is None:
        return
    gone = [label for label in before.enums if label not in after.enums]
    if not gone:
        return
    schema, name, of = where
    value = column(of, String())
    rows = select(func.min(value), func.count()).select_from(table(name, schema=schema))
    rows = rows.where(exact(value).in_(gone)).group_by(exact(value)).order_by(func.min(value))
    found = connection.execute(rows).all()
    if found:
        labels = ", ".join(f"{label!r} in {count} row(s)" for label, count in found)
        raise MigrationError(
            f"{name}.{of} cannot lose labels that rows have: {labels}. Update these rows in the "
            f"same revision, before the column changes: UPDATE {name} SET {of} = … "
            f"WHERE {of} IN ({literals(label for label, _ in found)})"
        )


def relabelling(
    operations: "Iterable[MigrateOperation]", dialect: Dialect
) -> "Iterator[MigrateOperation]":
    """What of some operations takes labels away, and changes nothing else.

    Args:
        operations: of a revision.
        dialect: of the database.
    """
    from alembic.operations.ops import AlterColumnOp, ModifyTableOps

    for operation in operations:
        match operation:
            case ModifyTableOps(ops=inner):
                yield from relabelling(inner, dialect)
            case AlterColumnOp(table_name=name, column_name=of, schema=schema):
                before = string_enum(operation.existing_type, dialect)
                after = string_enum(operation.modify_type, dialect)
                if before is None or after is None or set(before.enums) <= set(after.enums):
                    continue
                kept = [label for label in before.enums if label in after.enums]
                new = Enum(*kept, name=after.name, native_enum=False, length=before.length)
                alter = AlterColumnOp(
                    name, of, schema=schema, existing_type=before, modify_type=new
                )
                yield ModifyTableOps(name, [alter], schema=schema)
