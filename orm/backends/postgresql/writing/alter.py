"""A column that stays, as it is to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orm.backends.literals import literal
from orm.backends.postgresql.writing import sequences
from orm.backends.postgresql.writing.casts import changed, has_value, using
from orm.backends.postgresql.writing.columns import SERIAL, Column
from orm.backends.postgresql.writing.names import qualified, quote
from orm.backends.postgresql.writing.statements import refuse_if, refuse_labels
from orm.backends.things import Thing

__all__ = ["Alter", "aside"]


def aside(name: str, end: str = "_before") -> str:
    """The name of what gives its own to something else for a while."""
    return name[: 63 - len(end)] + end


@dataclass(frozen=True)
class Alter:
    """The way from one column to another of the same name, neither of which is to be dropped.

    Args:
        table: of the column.
        old: what it is.
        new: what it is to be; not generated.
        recast: whether the type is another one of the same name.
        old_sequence: the definition of the sequence that it owns; None if there is none.
        new_sequence: of the one that it is to own.
        words: the new default as the models say it; None if they do not.
        misread: the condition of values that the models would not read, and what they are.
        gone: the labels that the type of the same name does not have any more.
        added: those that only it has.
    """

    table: str
    old: Column
    new: Column
    recast: bool
    old_sequence: str | None
    new_sequence: str | None
    words: str | None
    misread: tuple[str, str] | None
    gone: Sequence[str]
    added: Sequence[str]

    def statements(self) -> Iterator[str]:
        """All that has to be done, without the comment."""
        old, new = self.old, self.new
        if old.identity and not new.identity:
            yield self._alter("DROP IDENTITY")
        default = old.default
        if old.generated:
            yield from self._make_plain()
        elif not self._can_keep_default:
            default = None
            yield from self._drop_default()
        if old.required and not new.required:
            yield self._alter("DROP NOT NULL")
        yield from self._type()
        if default != new.default:
            yield from self._default()
        required = old.required and not self._is_anew
        if new.required and not required:
            yield self._alter("SET NOT NULL")
        if new.identity and not old.identity and self.new_sequence is not None:
            options = sequences.options(self.new_sequence)
            yield self._alter(f"ADD GENERATED {new.identity} AS IDENTITY ({options})")
            yield sequences.follow_rows(self.table, new.name, self.new_sequence)
        elif new.identity and new.identity != old.identity:
            yield self._alter(f"SET GENERATED {new.identity}")
        if self._keeps_sequence and self.old_sequence != self.new_sequence:
            assert self.old_sequence is not None
            assert self.new_sequence is not None
            thing = Thing("sequence", self.table, new.name)
            yield sequences.alter(thing, self.old_sequence, self.new_sequence)

    @property
    def _is_anew(self) -> bool:
        """Whether the column is made anew, since no statement can make a virtual one plain."""
        return self.old.generated is not None and not self.old.is_stored

    @property
    def _keeps_sequence(self) -> bool:
        same = bool(self.old.identity) == bool(self.new.identity)
        return same and None not in (self.old_sequence, self.new_sequence)

    def _alter(self, action: str) -> str:
        column = quote(self.new.name)
        return f"ALTER TABLE {qualified(self.table)} ALTER COLUMN {column} {action}"

    def _make_plain(self) -> Iterator[str]:
        """Make a generated column a plain one, which keeps its values."""
        if self.old.is_stored:
            yield self._alter("DROP EXPRESSION")
            return
        table, name = qualified(self.table), quote(self.new.name)
        new = quote(aside(self.new.name, "_plain"))
        yield f"ALTER TABLE {table} ADD COLUMN {new} {self.old.full_type}"
        yield f"UPDATE {table} SET {new} = {name}"
        yield f"ALTER TABLE {table} DROP COLUMN {name}"
        yield f"ALTER TABLE {table} RENAME COLUMN {new} TO {name}"

    @property
    def _can_keep_default(self) -> bool:
        """Whether the default may stay until the new one is set."""
        if SERIAL in (self.old.default, self.new.default):
            return self.old.default in (self.new.default, None)
        return self.old.default is None or not self._changes_type

    def _drop_default(self) -> Iterator[str]:
        yield self._alter("DROP DEFAULT")
        if self.old.default == SERIAL:
            yield sequences.drop_owned(self.table, self.old.name)

    @property
    def _changes_type(self) -> bool:
        return self.recast or self.old.full_type != self.new.full_type

    def _type(self) -> Iterator[str]:
        old, new = self.old, self.new
        if not self._changes_type:
            return
        if self.recast:
            if self.gone:
                is_array = old.base.endswith("[]")
                yield refuse_labels(
                    self.table, old.name, self.gone, added=self.added, is_array=is_array
                )
        elif (condition := changed(old, new)) is not None:
            way_out = "update them first, or delete this statement"
            if condition == has_value(old):  # each value would be
                way_out = (
                    "have the USING of the next statement say what becomes of them, and delete "
                    "this one"
                )
            yield refuse_if(
                self.table,
                condition,
                f"{self.table}.{old.name} has values that would be changed by the new type "
                f"{new.type}: {way_out}",
            )
        if self.misread is not None:
            condition, what = self.misread
            yield refuse_if(
                self.table,
                condition,
                f"{self.table}.{old.name} has values that are {what}: update them first, or "
                "delete this statement",
            )
        expression = using(old, new)
        if self.recast:
            array = "[]" if old.base.endswith("[]") else ""
            expression = f"{quote(old.name)}::text{array}::{new.type}"
        collation = f" COLLATE {new.collation}" if new.collation else ""
        cast = f" USING {expression}" if expression else ""
        yield self._alter(f"TYPE {new.type}{collation}{cast}")

    def _default(self) -> Iterator[str]:
        new = self.new
        if new.default is None:
            yield self._alter("DROP DEFAULT")
        elif new.default != SERIAL:
            yield self._alter(f"SET DEFAULT {self.words or new.default}")
        else:
            schema, dot, table = self.table.rpartition(".")
            name = qualified(f"{schema}{dot}{aside(f'{table}_{new.name}', '_seq')}")
            yield (
                f"CREATE SEQUENCE {name} AS {new.type} "
                f"OWNED BY {qualified(self.table)}.{quote(new.name)}"
            )
            yield self._alter(f"SET DEFAULT nextval({literal(name)}::regclass)")
            if self.new_sequence is not None:
                yield sequences.follow_rows(self.table, new.name, self.new_sequence)
