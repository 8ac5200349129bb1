"""Names in SQL: how they are written, and whether a definition mentions them."""

import re
from typing import Final

from sqlalchemy.dialects.postgresql import dialect

from orm.backends.things import Thing

__all__ = ["DIALECT", "bare", "beside", "mentions", "qualified", "quote", "schema_of"]

# Percent signs stay single: SQLAlchemy doubles them when the revision runs.
DIALECT: Final = dialect(paramstyle="named")  # type: ignore[no-untyped-call]
quote: Final = DIALECT.identifier_preparer.quote
"""A name as SQL has it, in quotes if it needs them."""


def qualified(name: str) -> str:
    """The name of a table, type or sequence, perhaps after its schema's, as SQL has it."""
    return ".".join(quote(part) for part in name.split("."))


def beside(index: Thing) -> str:
    """The name of an index, which is in the schema of its table, as SQL has it."""
    schema, dot, _ = index.table.rpartition(".")
    return qualified(schema + dot + index.name)


def bare(name: str) -> str:
    """A name without its schema's."""
    return name.rpartition(".")[2]


def schema_of(name: str) -> str | None:
    """The schema of a name; None if it is the connection's own."""
    return name.rpartition(".")[0] or None


def mentions(definition: str, *names: str) -> bool:
    """Whether any of some names may occur in a definition.

    It may say yes in vain, of a word in a string for instance: then something is made anew that
    could have stayed.
    """
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", definition) for name in names)
