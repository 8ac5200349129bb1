"""Enum types: made, given more labels, replaced, dropped."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from alembic.operations.ops import AlterColumnOp
from sqlalchemy import ARRAY, Enum

from orm.backends.literals import literal, literals
from orm.backends.postgresql.writing.columns import Column
from orm.backends.postgresql.writing.names import bare, qualified, quote, schema_of
from orm.backends.things import Thing

__all__ = ["Enums", "uses"]

_LABEL: Final = re.compile(r"(E?)'((?:[^']|'')*)'")


@dataclass(frozen=True)
class Enums:
    """The enum types of two sides.

    Args:
        old: what there is (`Migrations.definitions`).
        new: what there is to be.
    """

    old: Mapping[Thing, str]
    new: Mapping[Thing, str]

    @property
    def made(self) -> list[Thing]:
        """The types that only the new side has."""
        return sorted(_of(self.new) - _of(self.old))

    @property
    def dropped(self) -> list[Thing]:
        """Those that only the old side has."""
        return sorted(_of(self.old) - _of(self.new))

    @property
    def replaced(self) -> list[Thing]:
        """Those that lose a label, or have one elsewhere: PostgreSQL can do neither."""
        return [thing for thing in self._differing if not self._only_grows(thing)]

    @property
    def _differing(self) -> list[Thing]:
        both = sorted(_of(self.old) & _of(self.new))
        return [thing for thing in both if self.old[thing] != self.new[thing]]

    def _only_grows(self, thing: Thing) -> bool:
        old, new = _labels(self.old[thing]), _labels(self.new[thing])
        return [label for label in new if label in old] == old and bool(old)

    def create(self, thing: Thing) -> str:
        """A statement that makes a type."""
        labels = literals(_labels(self.new[thing]))
        return f"CREATE TYPE {qualified(thing.name)} AS ENUM ({labels})"

    def grow(self) -> Iterator[str]:
        """Statements that add labels; each can be used after it is committed."""
        for thing in self._differing:
            if not self._only_grows(thing):
                continue
            old, new = _labels(self.old[thing]), _labels(self.new[thing])
            for at, label in enumerate(new):
                if label not in old:
                    where = f"AFTER {literal(new[at - 1])}" if at else f"BEFORE {literal(old[0])}"
                    yield (
                        f"ALTER TYPE {qualified(thing.name)} ADD VALUE IF NOT EXISTS "
                        f"{literal(label)} {where}"
                    )

    def set_aside(self, thing: Thing) -> Iterator[str]:
        """Statements that give a type's name to a new one."""
        yield f"ALTER TYPE {qualified(thing.name)} RENAME TO {quote(_aside(thing.name))}"
        yield self.create(thing)

    def relabelled(self, table: str, column: Column) -> AlterColumnOp:
        """What becomes of a column of a replaced type, as Alembic would say it."""
        is_array = column.base.endswith("[]")
        old, new = (
            ARRAY(Enum(*labels)) if is_array else Enum(*labels) for labels in self._both(column)
        )
        return AlterColumnOp(
            bare(table), column.name, schema=schema_of(table), existing_type=old, modify_type=new
        )

    def gone(self, column: Column) -> list[str]:
        """The labels that the replaced type of a column loses."""
        old, new = self._both(column)
        return [label for label in old if label not in new]

    def added(self, column: Column) -> list[str]:
        """Those that it gets."""
        old, new = self._both(column)
        return [label for label in new if label not in old]

    def _both(self, column: Column) -> tuple[list[str], list[str]]:
        thing = next(one for one in self.replaced if _is_of(column.base, one))
        return _labels(self.old[thing]), _labels(self.new[thing])

    def drop_set_aside(self, thing: Thing) -> str:
        """A statement that drops the type that was set aside."""
        schema, dot, _ = thing.name.rpartition(".")
        return f"DROP TYPE {qualified(schema + dot + _aside(thing.name))}"


def uses(column: Column, types: Collection[Thing]) -> bool:
    """Whether a column is of one of some types, or of an array of it."""
    return any(_is_of(column.base, thing) for thing in types)


def _is_of(type_: str, enum: Thing) -> bool:
    return type_.removesuffix("[]").replace('"', "") == enum.name


def _of(definitions: Mapping[Thing, str]) -> set[Thing]:
    return {
        thing
        for thing, text in definitions.items()
        if thing.kind == "type" and text.startswith("enum ")
    }


def _aside(name: str) -> str:
    return f"{name.rpartition('.')[2]}_before"[-63:]


def _labels(definition: str) -> list[str]:
    return [
        (label.replace("\\\\", "\\") if escapes else label).replace("''", "'")
        for escapes, label in _LABEL.findall(definition)
    ]
