"""Defaults of the models that the models themselves could not read."""

import re
from typing import Final

from sqlalchemy import DefaultClause, Enum, MetaData, TextClause, TypeDecorator

from orm.exceptions import MigrationError

__all__ = ["refuse_unreadable"]

_STRING: Final = re.compile(r"\s*'((?:[^']|'')*)'\s*(?:::.*)?")
"""A string of SQL, perhaps with a cast of PostgreSQL's."""


def refuse_unreadable(models: MetaData) -> None:
    """Refuse a ``server_default`` that is no label of its column's enum.

    A database that keeps the enum as a string takes it, and SQLAlchemy cannot read the new rows
    (SQLAlchemy "Enum": a value that is none of its labels is a LookupError).

    Raises:
        MigrationError: there is one; names the column, and what to do.
    """
    for table in models.tables.values():
        for column in table.columns:
            type_ = column.type
            while isinstance(type_, TypeDecorator):
                type_ = type_.impl_instance
            label = _string(column.server_default)
            if isinstance(type_, Enum) and label is not None and label not in type_.enums:
                raise MigrationError(
                    f"the models give {table.fullname}.{column.name} the server_default {label!r}, "
                    f"which is none of the labels of its enum ({', '.join(map(repr, type_.enums))}"
                    "): a row that gets it cannot be read. Correct the default, or the labels"
                )


def _string(default: object) -> str | None:
    """The string that a default is; None if it is something else."""
    match default:
        case DefaultClause(arg=str(value)):
            return str.__str__(value)
        case DefaultClause(arg=TextClause(text=sql)) if found := _STRING.fullmatch(sql):
            return found[1].replace("''", "'")
        case _:
            return None
