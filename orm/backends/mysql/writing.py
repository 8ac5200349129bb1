"""What makes one schema out of another on MariaDB and MySQL: one ALTER for each table.

A table's ALTER is atomic and copies it once at most. Its parts are the lines in which the engine
defines what there is to be. Foreign keys that stand in its way are dropped before, and made after.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final

from alembic.operations.ops import (
    AddColumnOp,
    CreateTableOp,
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    ModifyTableOps,
)
from sqlalchemy import Enum, ForeignKeyConstraint, MetaData, Table, UniqueConstraint

from orm.backends.mysql.conversions import keeps_values
from orm.backends.mysql.options import altered_options, charset_of, has_charset
from orm.backends.mysql.relabelling import with_both_labels
from orm.backends.operations import creation_of
from orm.backends.things import Thing

__all__ = ["Plan", "loses_values"]

_REFERENCE: Final = re.compile(r"FOREIGN KEY \((.*?)\) REFERENCES (`(?:[^`]|``)*`) \((.*?)\)")
_NAME: Final = re.compile(r"`((?:[^`]|``)*)`")
_GENERATED: Final = re.compile(r"GENERATED ALWAYS AS")
_VIRTUAL: Final = re.compile(r"(?<=\)) VIRTUAL\b")
_KEYS: Final = ("constraint", "index")
_KEY: Final = re.compile(r"(?:UNIQUE |FULLTEXT |SPATIAL )?KEY ")
_VALUE: Final = re.compile(r"\bDEFAULT\b|GENERATED ALWAYS AS|AUTO_INCREMENT")
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")
"""What SQLAlchemy's ``text`` would take for a parameter."""


def loses_values(old: Mapping[Thing, str], new: Mapping[Thing, str], models: MetaData) -> bool:
    """Whether a column becomes one to which the engine converts without saying what it loses."""
    return any(
        thing.kind == "column"
        and thing in new
        and not _keeps(thing, old[thing], new[thing], models)
        for thing in old
    )


def _keeps(thing: Thing, old: str, new: str, models: MetaData) -> bool:
    if _GENERATED.search(new):
        return True
    old = _GENERATED.split(old)[0]
    column = (
        models.tables[thing.table].columns.get(thing.name) if thing.table in models.tables else None
    )
    # An ENUM that is a text takes any text, which the model cannot read then.
    labels = column is not None and isinstance(column.type, Enum) and not new.startswith("enum")
    return keeps_values(old, new, labels=labels)


@dataclass(frozen=True)
class Plan:
    """The way from one schema to another.

    Args:
        old: what there is (`Migrations.definitions`).
        new: what there is to be.
        models: whose tables the new ones are.
    """

    old: Mapping[Thing, str]
    new: Mapping[Thing, str]
    models: MetaData

    def operations(self) -> list[MigrateOperation]:
        """All that has to be done, but for columns whose values the engine would not keep."""
        gone = sorted(_tables(self.old) - _tables(self.new))
        made = [self._model(name) for name in sorted(_tables(self.new) - _tables(self.old))]
        found: list[MigrateOperation] = list(self._required())
        found += map(_sql, self._in_tables(self._foreign(self.old, self._dropped, "DROP")))
        found += map(DropTableOp, gone)
        found += map(_sql, self._in_tables(self._stored()))
        found += map(_sql, self._in_tables(self._relabelled()))
        found += map(_sql, self._in_tables(self._altered()))  # they give up names of CHECKs
        found += map(_creation, made)
        found += map(_sql, self._in_tables(self._keys_of_made()))
        found += map(
            _sql,
            self._in_tables(chain(self._kept_keys(), self._foreign(self.new, self._added, "ADD"))),
        )
        return found

    def _model(self, name: str) -> Table:
        return self.models.tables[name]

    @cached_property
    def _kept(self) -> Set[str]:
        return _tables(self.old) & _tables(self.new)

    def _in_tables(self, parts: Iterator[tuple[str, str]]) -> Iterator[str]:
        """One statement for each table."""
        tables: dict[str, list[str]] = {}
        for table, part in parts:
            tables.setdefault(table, []).append(part)
        for table, those in sorted(tables.items()):
            yield f"ALTER TABLE {_quoted(table)} {', '.join(those)}"

    # Columns -----------------------------------------------------------------------------------

    def _required(self) -> Iterator[MigrateOperation]:
        """New columns that have no value for rows: as operations, which `apply` looks for first.

        The engine would give them 0 or an empty text.
        """
        for thing in self._new_columns:
            if "NOT NULL" in self.new[thing] and not _VALUE.search(self.new[thing]):
                column = self._model(thing.table).columns[thing.name]
                yield ModifyTableOps(thing.table, [AddColumnOp(thing.table, column)])

    @cached_property
    def _new_columns(self) -> Sequence[Thing]:
        return [
            thing
            for thing in self.new
            if thing.kind == "column" and thing.table in self._kept and thing not in self.old
        ]

    @cached_property
    def _anew(self) -> Set[Thing]:
        """The columns that are generated then: they are dropped and added."""
        return {thing for thing in self._changed if _GENERATED.search(self.new[thing])}

    @cached_property
    def _changed(self) -> Sequence[Thing]:
        return [
            thing
            for thing, text in self.old.items()
            if thing.kind == "column"
            and thing.table in self._kept
            and thing in self.new
            and self._changes(thing)
            and _keeps(thing, text, self.new[thing], self.models)
        ]

    def _changes(self, thing: Thing) -> bool:
        """Whether a column is to be another one: it may say the same and mean another charset."""
        before, after = map(charset_of, self._options_of(thing.table))
        new = self.new[thing]
        return self.old[thing] != new or (before != after and has_charset(new))

    def _touched(self, table: str) -> Set[str]:
        """The names of the columns of a table that change, go, or lose a key."""
        columns = {t.name for t in self._changed if t.table == table}
        columns |= {
            thing.name
            for thing in self.old
            if thing.kind == "column" and thing.table == table and thing not in self.new
        }
        for thing in self._keys(table):
            if self.old[thing] != self.new.get(thing):
                columns |= set(_names(self.old[thing])) - {thing.name}
        return columns

    def _keys(self, table: str) -> list[Thing]:
        """The keys, indexes and CHECKs of a table, but for its foreign keys."""
        return [
            thing
            for thing, text in self.old.items()
            if thing.table == table and thing.kind in _KEYS and not _REFERENCE.match(text)
        ]

    def _altered(self) -> Iterator[tuple[str, str]]:
        """The parts of each table's ALTER: what goes, before what comes."""
        for table in sorted(self._kept):
            anew = {thing.name for thing in self._anew if thing.table == table}
            dropped = {
                thing
                for thing in self._keys(table)
                if self.old[thing] != self.new.get(thing)
                or not anew.isdisjoint(_names(self.old[thing]))
            }
            for thing in sorted(dropped):
                yield table, _drop(thing, self.old[thing])
            yield from self._columns_of(table, anew)
            for thing, text in self.new.items():
                if thing.table != table or thing.kind not in _KEYS:
                    continue
                if not _REFERENCE.match(text) and (thing not in self.old or thing in dropped):
                    yield table, _add(thing, text)
            yield from self._options(table)

    def _keys_of_made(self) -> Iterator[tuple[str, str]]:
        for thing, text in self.new.items():
            if thing.table not in self._kept and _KEY.match(text) and thing.kind in _KEYS:
                yield thing.table, _add(thing, text)

    def _columns_of(self, table: str, anew: Set[str]) -> Iterator[tuple[str, str]]:
        here = [thing for thing in self.old if thing.kind == "column" and thing.table == table]
        for thing in here:
            if thing not in self.new or thing.name in anew:
                yield table, f"DROP COLUMN {_quoted(thing.name)}"
        for thing in self._changed:
            if thing.table == table and thing.name not in anew:
                yield table, f"MODIFY COLUMN {_quoted(thing.name)} {self.new[thing]}"
        for thing, text in self.new.items():
            is_new = thing in self._new_columns and thing.table == table
            required = "NOT NULL" in text and not _VALUE.search(text)
            if (is_new and not required) or (thing in self._anew and thing.table == table):
                yield table, f"ADD COLUMN {_quoted(thing.name)} {text}"

    def _stored(self) -> Iterator[tuple[str, str]]:
        """Virtual columns that are ordinary ones then are stored first: only such keep values."""
        virtual = [
            thing
            for thing in self._changed
            if thing not in self._anew and _VIRTUAL.search(self.old[thing])
        ]
        for table in sorted({thing.table for thing in virtual}):
            those = {thing.name for thing in virtual if thing.table == table}
            keys = [key for key in self._keys(table) if those & set(_names(self.old[key]))]
            yield from ((table, _drop(key, self.old[key])) for key in keys)
            for name in sorted(those):
                stored = _VIRTUAL.sub(" STORED", self.old[Thing("column", table, name)])
                yield table, f"DROP COLUMN {_quoted(name)}"
                yield table, f"ADD COLUMN {_quoted(name)} {stored}"
            yield from ((table, _add(key, self.old[key])) for key in keys)

    def _relabelled(self) -> Iterator[tuple[str, str]]:
        """ENUMs that get labels in place of others first have both."""
        for thing in self._changed:
            both = with_both_labels(self.old[thing], self.new[thing])
            if both is not None and thing not in self._anew:
                yield thing.table, f"MODIFY COLUMN {_quoted(thing.name)} {both}"

    def _options(self, table: str) -> Iterator[tuple[str, str]]:
        options = altered_options(*self._options_of(table))
        if options is not None:
            yield table, options

    def _options_of(self, table: str) -> tuple[str, str]:
        thing = Thing("table", table, table)
        return self.old[thing], self.new[thing]

    # Foreign keys ------------------------------------------------------------------------------

    @cached_property
    def _dropped(self) -> Set[Thing]:
        return {
            thing
            for thing, text in self.old.items()
            if (found := _REFERENCE.match(text))
            and (
                self.new.get(thing) != text
                or _unquoted(found[2]) not in self._kept
                or not self._touched(thing.table).isdisjoint(_names(found[1]))
                or not self._touched(_unquoted(found[2])).isdisjoint(_names(found[3]))
            )
        }

    @cached_property
    def _added(self) -> Set[Thing]:
        return {
            thing
            for thing, text in self.new.items()
            if _REFERENCE.match(text) and (thing not in self.old or thing in self._dropped)
        }

    def _kept_keys(self) -> Iterator[tuple[str, str]]:
        """Make the keys anew that the engine may have made for a reference without a name.

        It names them after the column. It drops such a key by itself once there is another one of
        the same columns, and a reference that is added by its name gets one of that name.
        """
        added = {(one.table, *_names(_columns(self.new[one]))) for one in self._added}
        for thing, text in self.new.items():
            if thing.kind == "index" and self.old.get(thing) == text:
                columns = _names(text)[1:]
                if thing.name.startswith(columns[0]) and (thing.table, *columns) in added:
                    yield thing.table, _drop(thing, text)
                    yield thing.table, _add(thing, text)

    def _foreign(
        self, side: Mapping[Thing, str], those: Set[Thing], what: str
    ) -> Iterator[tuple[str, str]]:
        for thing in sorted(those):
            if what == "DROP":
                yield thing.table, f"DROP FOREIGN KEY {_quoted(thing.name)}"
            else:
                yield thing.table, _add(thing, side[thing])


def _drop(thing: Thing, text: str) -> str:
    if text.startswith("PRIMARY KEY"):
        return "DROP PRIMARY KEY"
    if text.startswith("check"):
        return f"DROP CONSTRAINT {_quoted(thing.name)}"
    return f"DROP KEY {_quoted(thing.name)}"


def _add(thing: Thing, text: str) -> str:
    if text.startswith(("check", "FOREIGN KEY")):
        return f"ADD CONSTRAINT {_quoted(thing.name)} {text}"
    return f"ADD {text}"


def _sql(statement: str) -> ExecuteSQLOp:
    return ExecuteSQLOp(_PARAMETER.sub(r"\\:", statement))


def _creation(table: Table) -> CreateTableOp:
    """A new table without its keys but the primary one, which are added to it as to others."""
    operation = creation_of(table)
    operation.columns = [
        item
        for item in operation.columns
        if not isinstance(item, ForeignKeyConstraint | UniqueConstraint)
    ]
    return operation


def _tables(definitions: Mapping[Thing, str]) -> set[str]:
    return {thing.table for thing in definitions if thing.kind == "table"}


def _columns(reference: str) -> str:
    return reference.partition(" REFERENCES ")[0]


def _names(text: str) -> list[str]:
    return [name.replace("``", "`") for name in _NAME.findall(text)]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")
