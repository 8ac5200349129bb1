"""One effect of a revision: a sentence for people, and its kind for programs."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Effect", "Kind"]

Kind = Literal[
    "drop_table",
    "drop_column",
    "type",
    "rewrite",
    "convert",
    "not_null",
    "required_column",
    "changing_default",
    "rename",
    "delete",
    "update",
    "constraint",
    "index",
    "alter",
    "unknown",
]

_LOSING: Final[frozenset[Kind]] = frozenset({"drop_table", "drop_column", "type", "delete"})
"""Rows or values are lost for good."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that a reader should know before a revision is applied.

    Attributes:
        kind: for programs.
        table: the name that the table has before the revisions; empty if that is not known.
        column: the name that the column has before them; None if it is about the whole table.
        message: a sentence.
    """

    kind: Kind
    table: str
    column: str | None
    message: str

    @property
    def loses_data(self) -> bool:
        """Whether rows or values may be lost for good."""
        return self.kind in _LOSING
