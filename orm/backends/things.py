"""What is defined in a database, such as tables, columns and indexes: each by its kind and name."""

from typing import Final, NamedTuple

__all__ = ["SEQUENCE_NAME", "Thing"]

SEQUENCE_NAME: Final = "sequence name"
"""The kind of a thing that is compared only where something is renamed: what is called so belongs
to a column, by which it is known."""


class Thing(NamedTuple):
    """A thing that is defined in a database; as text a phrase such as ``column users.email``.

    Attributes:
        kind: in the engine's word for it: ``table``, ``column``, ``index``, ``trigger`` …
        table: the table that it belongs to; of a table or a view its own name.
        name: its name; what it is defined as, if it has none.
    """

    kind: str
    table: str
    name: str

    def __str__(self) -> str:
        if self.name == self.table:
            return f"{self.kind} {self.name}"
        if self.kind == "column":
            return f"column {self.table}.{self.name}"
        return f"{self.kind} {self.name} of {self.table}"
