"""Changes of columns for which SQLite need not rebuild a table: a new name, other labels."""

from typing import Any

from alembic.operations.batch import BatchOperationsImpl
from alembic.operations.ops import AlterColumnOp
from sqlalchemy import Connection, Dialect, column, inspect, table
from sqlalchemy.types import NULLTYPE, TypeEngine

from orm.backends.operations import in_a_batch
from orm.backends.sqlite.values import has_same_name, in_new_form
from orm.exceptions import MigrationError

__all__ = ["is_in_place", "keeps_type", "refuse_in_place"]


def is_in_place(batch: BatchOperationsImpl, connection: Connection | None) -> bool:
    """Whether all that a batch does to a table is in place.

    Args:
        batch: what it does.
        connection: to the database; None if only its SQL is written.
    """
    if batch.table_args or batch.table_kwargs or batch.copy_from is not None:
        return False
    if _share_names(batch):
        return False
    return all(
        operation == "alter_column" and _is_in_place(connection, *arguments, **options)
        for operation, arguments, options in batch.batch
    )


def _share_names(batch: BatchOperationsImpl) -> bool:
    """Whether a column gets the name that another one gives up."""
    renames = [
        (arguments[1], options["name"])
        for operation, arguments, options in batch.batch
        if operation == "alter_column" and options.get("name") is not None
    ]
    return not {old for old, _ in renames}.isdisjoint(new for _, new in renames)


def _is_in_place(
    connection: Connection | None,
    table_name: str,
    column_name: str,
    *,
    type_: TypeEngine[Any] | type[TypeEngine[Any]] | None = None,
    nullable: bool | None = None,
    server_default: object = False,
    comment: object = False,
    **_: object,
) -> bool:
    if nullable is not None or server_default is not False or comment is not False:
        return False
    if type_ is None:
        return True
    if connection is None:
        return False
    of_database = _type_of(connection, table_name, column_name)
    return has_same_name(connection, _instance(type_), of_database)


def keeps_type(
    connection: Connection,
    table_name: str,
    column_name: str,
    type_: TypeEngine[Any] | type[TypeEngine[Any]],
) -> bool:
    """Whether the type of a column is, to the database, the one that it is to have.

    Raises:
        MigrationError: it is, and a row has a label that the enum does not have.
    """
    made, of_database = _instance(type_), _type_of(connection, table_name, column_name)
    if not has_same_name(connection, made, of_database):
        return False
    value = table(table_name, column(column_name)).c[column_name]
    in_new_form(connection, f"{table_name}.{column_name}", value, of_database, made)
    return True


class _NotInPlace(MigrationError, NotImplementedError):  # which another engine may have
    """SQLite cannot change a column in place."""


def refuse_in_place(change: AlterColumnOp, dialect: Dialect) -> None:
    """Refuse a change of a column outside of a batch, which SQLite cannot make in place.

    Args:
        change: what the revision says.
        dialect: of SQLite.

    Raises:
        MigrationError: always; says how every engine can.
    """
    raise _NotInPlace(
        f"SQLite cannot change column {change.column_name} of {change.table_name} in place. Put "
        f"the change into a batch, which all engines have: {in_a_batch(change, dialect)}"
    )


def _instance(type_: TypeEngine[Any] | type[TypeEngine[Any]]) -> TypeEngine[Any]:
    """A type, which a revision may say by its class alone."""
    return type_() if isinstance(type_, type) else type_


def _type_of(connection: Connection, table_name: str, column_name: str) -> TypeEngine[Any]:
    """The type that the database says a column has."""
    columns = inspect(connection).get_columns(table_name)
    name = column_name.casefold()
    return next((one["type"] for one in columns if one["name"].casefold() == name), NULLTYPE)
