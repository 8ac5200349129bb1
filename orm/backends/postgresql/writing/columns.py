"""Columns, as `definitions` has them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from orm.backends.things import Thing

__all__ = ["SERIAL", "Column", "columns_of", "tables_of"]

SERIAL: Final = "the next of its own sequence"
"""The default of a column that owns a sequence (``definitions``)."""

_DEFINITION: Final = re.compile(
    r"""
    (?P<type>.+?)
    (?:\ collate\ (?P<collation>\S+|".+?"))?
    (?P<required>\ not\ null)?
    (?:\ generated\ (?P<identity>always|by\ default)\ as\ identity)?
    (?:
        \ default\ (?P<default>.+?)
        | \ generated\ always,\ stored,\ as\ (?P<stored>.+?)
        | \ generated\ always\ as\ (?P<virtual>.+?)
    )?
    (?:\ comment\ (?P<comment>E?'(?:[^']|'')*'))?
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column, in SQL's words.

    Attributes:
        name: its name.
        type: with its length.
        collation: if it is not the type's own.
        required: whether it is NOT NULL.
        identity: ``ALWAYS`` or ``BY DEFAULT``; None if it is no identity.
        default: an expression, or `SERIAL`.
        generated: the expression of a generated column.
        is_stored: whether a generated column is kept in the rows.
        comment: as a literal.
    """

    name: str
    type: str
    collation: str | None
    required: bool
    identity: str | None
    default: str | None
    generated: str | None
    is_stored: bool
    comment: str | None

    @classmethod
    def of(cls, name: str, definition: str) -> Self:
        """The column of a definition."""
        parts = _DEFINITION.fullmatch(definition)
        assert parts is not None, definition
        return cls(
            name,
            parts["type"],
            parts["collation"],
            parts["required"] is not None,
            parts["identity"] and parts["identity"].upper(),
            parts["default"],
            parts["stored"] or parts["virtual"],
            parts["stored"] is not None,
            parts["comment"],
        )

    @property
    def full_type(self) -> str:
        """The type, and the collation if it is not the type's own."""
        return f"{self.type} COLLATE {self.collation}" if self.collation else self.type

    @property
    def base(self) -> str:
        """The type without a length or precision: a cast to it cuts nothing off."""
        return re.sub(r"\(.*?\)", "", self.type)


def tables_of(definitions: Mapping[Thing, str]) -> set[str]:
    """The names of the tables among definitions."""
    return {thing.table for thing in definitions if thing.kind == "table"}


def columns_of(definitions: Mapping[Thing, str]) -> dict[str, dict[str, Column]]:
    """The columns of each table, by their names."""
    found: dict[str, dict[str, Column]] = {
        thing.table: {} for thing in definitions if thing.kind == "table"
    }
    for thing, text in definitions.items():
        if thing.kind == "column":
            found[thing.table][thing.name] = Column.of(thing.name, text)
    return found
