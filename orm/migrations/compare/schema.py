"""The tables of a database, as far as it matters to what a revision would do to them."""

from dataclasses import dataclass

from sqlalchemy import Connection, inspect

__all__ = ["Column", "Schema", "schema_of"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database has it: its type as text, and whether it may be NULL."""

    type: str
    nullable: bool


Schema = dict[str, dict[str, Column]]
"""The columns of each table."""


def schema_of(connection: Connection) -> Schema:
    """The tables of the connection's default schema."""
    return {
        table: {
            column["name"]: Column(str(column["type"]), column["nullable"]) for column in columns
        }
        for (_, table), columns in inspect(connection).get_multi_columns().items()
    }
