"""Rows that a new key does not allow, with an example: SQLite names the key alone."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    func,
    select,
)

from orm.exceptions import MigrationError

__all__ = ["refuse_duplicates", "refuse_duplicates_of"]


def refuse_duplicates(
    connection: Connection, table: Table, new: Table, copied: dict[str, ColumnElement[Any]]
) -> None:
    """See whether the rows of a table keep the keys of the one that takes its place.

    Args:
        connection: to the database.
        table: the old table.
        new: the new table.
        copied: what is copied into its columns, by their names.

    Raises:
        MigrationError: they do not.
    """
    keys = [
        [column.name for column in constraint.columns]
        for constraint in new.constraints
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint)
    ]
    place = {column.name: number for number, column in enumerate(new.columns)}
    # They are a set: the one that is named first is the same one each time.
    for names in sorted(keys, key=lambda names: [place[name] for name in names]):
        if names and copied.keys() >= set(names):
            _refuse(connection, str(table.name), names, [copied[name] for name in names], None)


def refuse_duplicates_of(connection: Connection, index: Index) -> None:
    """See whether the rows of a table keep a unique index that is to be made.

    Raises:
        MigrationError: they do not.
    """
    assert index.table is not None
    names = [getattr(one, "name", None) or str(one) for one in index.expressions]
    values: list[Any] = list(index.expressions)
    where = index.dialect_options["sqlite"]["where"]
    _refuse(connection, str(index.table.name), names, values, where)


def _refuse(
    connection: Connection,
    table: str,
    names: Sequence[str],
    values: Sequence[ColumnElement[Any]],
    where: ColumnElement[bool] | None,
) -> None:
    groups = select(*values).where(*(value.is_not(None) for value in values))
    groups = groups.where(*([] if where is None else [where]))
    groups = groups.group_by(*values).having(func.count() > 1).order_by(*values)
    groups = groups.execution_options(probe=True)
    found = connection.execute(groups).all()
    if found:
        example = found[0][0] if len(names) == 1 else tuple(found[0])
        what = f"{table}.{names[0]}" if len(names) == 1 else f"{table} ({', '.join(names)})"
        raise MigrationError(
            f"{what} cannot be unique: {len(found)} value(s) are there more than once, such as "
            f"{example!r}. Update or delete these rows in the same revision, before that"
        )
