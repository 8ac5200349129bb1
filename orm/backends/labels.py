"""Enums that a database keeps as strings: it does not know their labels."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Dialect,
    Enum,
    String,
    TypeDecorator,
    any_,
    case,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.types import TypeEngine, to_instance

from orm.backends.literals import literal, literals
from orm.exceptions import MigrationError

if TYPE_CHECKING:
    from alembic.operations.ops import MigrateOperation

__all__ = [
    "labels_of",
    "only_labels_change",
    "refuse_lost_labels",
    "relabelling",
    "string_enum",
    "update_of_lost",
]

_Type = TypeEngine[Any] | type[TypeEngine[Any]] | None
_Enum = Enum | ARRAY[Any]
"""An enum, or an array of one."""


def string_enum(type_: _Type, dialect: Dialect) -> _Enum | None:
    """The enum, or the array of one, that a type is, if a database has strings without a CHECK.

    Args:
        type_: the type.
        dialect: of the database.
    """
    if type_ is None:
        return None
    found = _plain(to_instance(type_), dialect)
    enum = _plain(found.item_type, dialect) if isinstance(found, ARRAY) else found
    if not isinstance(enum, Enum) or enum.create_constraint:
        return None
    if enum.native_enum and dialect.supports_native_enum:
        return None
    return _like(found, enum)


def _plain(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """What a type is decorated from, on an engine."""
    type_ = type_.dialect_impl(dialect)
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance.dialect_impl(dialect)
    return type_


def _like(type_: TypeEngine[Any], enum: Enum) -> _Enum:
    """An enum, or an array of it if a type is an array."""
    return ARRAY(enum, dimensions=type_.dimensions) if isinstance(type_, ARRAY) else enum


def _enum_of(type_: object) -> Enum | None:
    enum = type_.item_type if isinstance(type_, ARRAY) else type_
    return enum if isinstance(enum, Enum) else None


def labels_of(type_: object) -> list[str]:
    """The labels of an enum, or of an array of one; none of any other type."""
    enum = _enum_of(type_)
    return [] if enum is None else list(enum.enums)


def only_labels_change(old: _Type, new: _Type, dialect: Dialect) -> bool:
    """Whether a type is an enum, or a string, and becomes an enum that is the same string.

    Args:
        old: a type.
        new: the one that takes its place.
        dialect: of the database.
    """
    before, after = string_enum(old, dialect) or _string(old, dialect), string_enum(new, dialect)
    if before is None or after is None:
        return False
    return before.compile(dialect=dialect) == after.compile(dialect=dialect)


def _string(type_: _Type, dialect: Dialect) -> String | None:
    """The string without labels that a type is."""
    found = None if type_ is None else _plain(to_instance(type_), dialect)
    return found if isinstance(found, String) and not isinstance(found, Enum) else None


def refuse_lost_labels(
    connection: Connection,
    where: tuple[str | None, str, str],
    old: _Type,
    new: _Type,
    exact: Callable[[ColumnElement[str]], ColumnElement[str]] = lambda value: value,
) -> None:
    """See that no row has a label that an enum is to lose, or a string that is to be no label.

    Args:
        connection: to the database.
        where: the schema, the table and the column.
        old: the type of the column; only strings, and enums that are kept as such, are looked at.
        new: the one that it gets.
        exact: makes of the column what differs wherever two strings differ.

    Raises:
        MigrationError: a row has one; names each, and how many rows have it.
    """
    before, after = (string_enum(one, connection.dialect) for one in (old, new))
    if before is None and isinstance(after, Enum) and _string(old, connection.dialect) is not None:
        _refuse_other_values(connection, where, after.enums, exact)
    if before is None or after is None:
        return
    gone = sorted(set(labels_of(before)) - set(labels_of(after)))
    if not gone:
        return
    schema, name, of = where
    is_array = isinstance(before, ARRAY)
    has = any_(column(of, ARRAY(String()))) if is_array else exact(column(of, String()))
    counts = (func.count(case((has == label, literal_column("1")))) for label in gone)
    row = connection.execute(select(*counts).select_from(table(name, schema=schema))).one()
    found = {label: count for label, count in zip(gone, row, strict=True) if count}
    if found:
        labels = ", ".join(f"{label!r} in {count} row(s)" for label, count in found.items())
        update = update_of_lost(connection.dialect, where, list(found), is_array=is_array)
        raise MigrationError(
            f"{name}.{of} cannot lose labels that rows have: {labels}. Update these rows in the "
            f"same revision, before the column changes: {update}"
        )


def _refuse_other_values(
    connection: Connection,
    where: tuple[str | None, str, str],
    labels: Sequence[str],
    exact: Callable[[ColumnElement[str]], ColumnElement[str]],
) -> None:
    schema, name, of = where
    value = column(of, String())
    others = select(func.count(), func.min(value)).where(exact(value).not_in(labels))
    count, example = connection.execute(others.select_from(table(name, schema=schema))).one()
    if count:
        quote = connection.dialect.identifier_preparer.quote
        full = ".".join(quote(part) for part in (schema, name) if part)
        raise MigrationError(
            f"{name}.{of} has values that are none of {literals(labels)}, in {count} row(s), such "
            f"as {example!r}. Update these rows in the same revision, "
            f"before the column changes: UPDATE {full} SET {quote(of)} = … "
            f"WHERE {quote(of)} NOT IN ({literals(labels)})"
        )


def update_of_lost(
    dialect: Dialect,
    where: tuple[str | None, str, str],
    lost: Sequence[str],
    *,
    is_array: bool,
) -> str:
    """A statement that takes labels from rows, but for the values that its reader has to choose.

    Args:
        dialect: of the database.
        where: the schema, the table and the column.
        lost: the labels.
        is_array: whether the column is an array of an enum, and not an enum.
    """
    quote = dialect.identifier_preparer.quote
    name = ".".join(quote(part) for part in where[:2] if part)
    of = quote(where[2])
    if not is_array:
        return f"UPDATE {name} SET {of} = … WHERE {of} IN ({literals(lost)})"
    value = of
    for label in lost:
        value = f"array_replace({value}, {literal(label)}, …)"
    has = " OR ".join(f"{literal(label)} = ANY ({of})" for label in lost)
    return f"UPDATE {name} SET {of} = {value} WHERE {has}"


def relabelling(
    operations: "Iterable[MigrateOperation]", dialect: Dialect
) -> "Iterator[MigrateOperation]":
    """What of some operations takes labels, or other strings, away, and changes nothing else.

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
                old = operation.existing_type
                before = string_enum(old, dialect)
                after = string_enum(operation.modify_type, dialect)
                text = _string(old, dialect)
                new: TypeEngine[Any]
                if isinstance(after, Enum) and text is not None and text.length:
                    new = Enum(*after.enums, name=after.name, native_enum=False, length=text.length)
                elif before is None or set(labels_of(before)) <= set(labels_of(after)):
                    continue
                else:
                    old, new = before, _fewer(before, labels_of(after))
                alter = AlterColumnOp(name, of, schema=schema, existing_type=old, modify_type=new)
                yield ModifyTableOps(name, [alter], schema=schema)


def _fewer(type_: _Enum, labels: Sequence[str]) -> _Enum:
    """The same string to the database, with those labels alone that are among others."""
    enum = _enum_of(type_)
    assert enum is not None
    kept = [label for label in enum.enums if label in labels]
    return _like(type_, Enum(*kept, name=enum.name, native_enum=False, length=enum.length))
