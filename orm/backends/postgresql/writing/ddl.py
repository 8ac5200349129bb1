"""The models' own words for what they make: what ``create_all`` would send.

PostgreSQL does not always read its own definition back as it wrote it: a CHECK on strings is
another one then. So what the models have is made in their words, and only what has no name by its
definition.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    Enum,
    Index,
    MetaData,
    PickleType,
    Table,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import DOMAIN, CreateDomainType
from sqlalchemy.schema import AddConstraint, CreateIndex
from sqlalchemy.types import TypeEngine

from orm.backends.literals import literals
from orm.backends.operations import checks_of
from orm.backends.postgresql.writing.names import DIALECT
from orm.backends.things import Thing

__all__ = ["column", "concurrently", "creation", "default", "domains", "enums", "misread"]

_COMPILER: Final[Any] = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
_PREPARER: Final = DIALECT.identifier_preparer


def column(model: Column[Any]) -> str:
    """A column as ``ADD COLUMN`` has it, without its constraints."""
    return str(_COMPILER.get_column_specification(model))


def default(model: Column[Any]) -> str | None:
    """The default of a column; None if it has none of its own words."""
    said = _COMPILER.get_column_default_string(model)
    return None if said is None else str(said)


def domains(tables: Iterable[Table]) -> dict[str, str]:
    """The statements that make the domains of some tables, by their names with their schemas."""
    return {
        f"{type_.schema}.{type_.name}" if type_.schema else str(type_.name): str(
            CreateDomainType(type_).compile(dialect=DIALECT)
        )
        for type_ in _types(tables)
        if isinstance(type_, DOMAIN)
    }


def enums(tables: Iterable[Table]) -> set[str]:
    """The names of the enums that come with some tables, without their schemas."""
    return {
        str(type_.name)
        for type_ in _types(tables)
        if isinstance(type_, Enum) and type_.native_enum and type_.name
    }


def _types(tables: Iterable[Table]) -> Iterator[TypeEngine[Any]]:
    """What the columns of tables are of here: of a TypeDecorator's, and of an array's elements."""
    for table in tables:
        for column in table.columns:
            yield _plain(column.type)


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    type_ = type_.dialect_impl(DIALECT)
    while isinstance(type_, TypeDecorator | ARRAY):
        inner = type_.item_type if isinstance(type_, ARRAY) else type_.impl_instance
        type_ = inner.dialect_impl(DIALECT)
    return type_


def misread(model: Column[Any], *, of_array: bool) -> tuple[str, str] | None:
    """Values of another type that the type in Python would not read, once the database has them.

    Args:
        model: the column.
        of_array: whether the other type is an array.

    Returns:
        The condition of such a value, and what people call it; None if there is none.
    """
    type_, name = model.type.dialect_impl(DIALECT), _PREPARER.quote(model.name)
    while isinstance(type_, TypeDecorator):
        if isinstance(type_, PickleType):
            return f"{name} IS NOT NULL", "no pickles"
        type_ = type_.impl_instance.dialect_impl(DIALECT)
    enum, is_array = _plain(type_), isinstance(type_, ARRAY)
    # Where one is an array and the other is not, no value can stay as it is.
    if not isinstance(enum, Enum) or enum.native_enum or is_array is not of_array:
        return None
    labels = literals(enum.enums)
    condition = f"{name}::text NOT IN ({labels})"
    if is_array:
        each = f"unnest({name}::text[]) AS each (label)"
        condition = f"EXISTS (SELECT FROM {each} WHERE label NOT IN ({labels}))"
    return condition, f"none of {labels}"


def creation(table: Table, thing: Thing) -> str | None:
    """The statement that makes a constraint or an index; None if the models do not name it."""
    if thing.kind == "index":
        for index in table.indexes:
            if _is_named(_PREPARER.format_index(index), thing) and not _commits(index):
                return str(CreateIndex(index).compile(dialect=DIALECT))
        return None
    for constraint in [*table.constraints, *_of_columns(table)]:
        unnamed = constraint.name is None
        if not unnamed and _is_named(_PREPARER.format_constraint(constraint), thing):
            add = AddConstraint(constraint, isolate_from_table=False)
            return str(add.compile(dialect=DIALECT))
    return None


def _of_columns(table: Table) -> Iterator[CheckConstraint]:
    """The CHECKs inside its columns, as constraints of a table, which alone can be added."""
    for check in checks_of(table):
        if not isinstance(check.parent, Table):
            copy = CheckConstraint(check.sqltext, name=check.name)
            Table(table.name, MetaData(), copy, schema=table.schema)
            yield copy


def concurrently(table: Table, thing: Thing) -> str | None:
    """The statement that makes an index without a lock; None if the models do not name it.

    It does nothing if the index is there, since it stays if what follows fails. One that was left
    unfinished is found by `Migrations.verify`.
    """
    for index in table.indexes:
        if _is_named(_PREPARER.format_index(index), thing):
            return str(CreateIndex(index, if_not_exists=True).compile(dialect=DIALECT))
    return None


def _is_named(quoted: str | None, thing: Thing) -> bool:
    return quoted is not None and _PREPARER.unformat_identifiers(quoted) == [thing.name]


def _commits(index: Index) -> bool:
    return bool(index.dialect_options["postgresql"]["concurrently"])
