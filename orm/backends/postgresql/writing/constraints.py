"""Constraints and indexes: which go and which come, in an order that PostgreSQL accepts."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sqlalchemy import Table

from orm.backends.postgresql.writing import ddl
from orm.backends.postgresql.writing.columns import tables_of
from orm.backends.postgresql.writing.comments import without_comment
from orm.backends.postgresql.writing.names import beside, mentions, qualified, quote
from orm.backends.things import Thing

__all__ = ["Constraints"]

_REFERENCES: Final = re.compile(r"FOREIGN KEY .*? REFERENCES (.+?)\(")
_KEYS: Final = ("PRIMARY KEY", "UNIQUE", "CREATE UNIQUE")


@dataclass(frozen=True)
class Constraints:
    """The constraints and indexes of two sides.

    Args:
        old: what there is (`Migrations.definitions`).
        new: what there is to be.
        touched: the columns of each table that are made anew, or get another type.
        model: finds the model of a new table by its name.
    """

    old: Mapping[Thing, str]
    new: Mapping[Thing, str]
    touched: Mapping[str, Collection[str]]
    model: Callable[[str], Table]

    @property
    def drops(self) -> list[str]:
        """Statements that drop those that go, or have to go for a while."""
        return [_drop(thing) for thing in self._dropped]

    @property
    def creations(self) -> list[str]:
        """Statements that make the new ones, and those that went for a while."""
        return [self._create(thing) for thing in self._created]

    def stays(self, thing: Thing) -> bool:
        """Whether something is there before, and is not dropped."""
        return thing in self.old and thing not in self._dropped

    @cached_property
    def _dropped(self) -> list[Thing]:
        tables = tables_of(self.new)
        of_kept = [t for t in self.old if t.kind in ("constraint", "index")]
        found = {
            thing
            for thing in of_kept
            if (thing.table in tables or _reference(self.old[thing]) not in (None, thing.table))
            and (self._differs(thing) or self._touches(thing))
        }
        keys = {thing.table for thing in found if self.old[thing].startswith(_KEYS)}
        found |= {thing for thing in of_kept if _reference(self.old[thing]) in keys}
        return sorted(found, key=lambda thing: (-_rank(self.old[thing]), thing))

    def _differs(self, thing: Thing) -> bool:
        return without_comment(self.old[thing]) != without_comment(self.new.get(thing, ""))

    def _touches(self, thing: Thing) -> bool:
        """Whether it is on a column that is made anew, or changes its type."""
        text = self.old[thing]
        tables = thing.table, _reference(text) or ""
        return any(mentions(text, *self.touched.get(table, ())) for table in tables)

    @cached_property
    def _created(self) -> list[Thing]:
        gone, tables = set(self._dropped), tables_of(self.old)
        found = [
            thing
            for thing, text in self.new.items()
            if thing.kind in ("constraint", "index")
            and (thing not in self.old or thing in gone)
            # A new table is made with all but its foreign keys and indexes.
            and (thing.table in tables or thing.kind == "index" or _reference(text) is not None)
        ]
        return sorted(found, key=lambda thing: (_rank(self.new[thing]), thing))

    def _create(self, thing: Thing) -> str:
        if said := ddl.creation(self.model(thing.table), thing):
            return said
        text = without_comment(self.new[thing])
        if thing.kind == "index":
            return text
        return f"ALTER TABLE {qualified(thing.table)} ADD CONSTRAINT {quote(thing.name)} {text}"


def _drop(thing: Thing) -> str:
    if thing.kind == "index":
        return f"DROP INDEX {beside(thing)}"
    return f"ALTER TABLE {qualified(thing.table)} DROP CONSTRAINT {quote(thing.name)}"


def _reference(definition: str) -> str | None:
    found = _REFERENCES.match(definition)
    return found[1].replace('"', "") if found else None


def _rank(definition: str) -> int:
    """Keys before foreign keys, which need them."""
    return 2 if definition.startswith("FOREIGN") else 0 if definition.startswith(_KEYS) else 1
