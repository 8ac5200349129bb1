"""What a statement does, where no operation of Alembic's says it."""

from dataclasses import dataclass

from alembic.operations.ops import MigrateOperation

__all__ = [
    "Deletes",
    "DropsSchema",
    "Moves",
    "OnTables",
    "Rewrites",
    "Said",
    "Unnamed",
    "Updates",
]


@dataclass(frozen=True, slots=True)
class Deletes:
    """Rows of a table are deleted."""

    table: str


@dataclass(frozen=True, slots=True)
class Updates:
    """Values of a table are set, in these columns; None if the columns are not known."""

    table: str
    columns: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Rewrites:
    """A column gets another type; the statement says what becomes of its values."""

    table: str
    column: str
    type: str
    """In SQL's words; empty if it cannot be seen."""


@dataclass(frozen=True, slots=True)
class Moves:
    """A table goes to another schema."""

    table: str
    schema: str


@dataclass(frozen=True, slots=True)
class DropsSchema:
    """A schema is dropped with its tables."""

    schema: str


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Something is dropped or deleted, and the statement does not say which table's."""

    what: str
    """A sentence without its subject."""


OnTables = Deletes | Updates | Rewrites | Moves | DropsSchema | Unnamed
Said = MigrateOperation | OnTables
