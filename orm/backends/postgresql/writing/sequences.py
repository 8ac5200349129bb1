"""Sequences: explicit ones, and those behind identity and serial columns."""

import re
from typing import Final

from orm.backends.literals import literal
from orm.backends.postgresql.writing.names import qualified, quote
from orm.backends.things import Thing

__all__ = ["alter", "create", "drop_owned", "follow_rows", "options", "rename"]

_DEFINITION: Final = re.compile(
    r"(\w+) from (\S+) by (\S+) between (\S+) and (\S+) cache (\S+)( cycle)?"
)


def _parts(definition: str) -> tuple[str, str, str, str, str, str, bool]:
    found = _DEFINITION.fullmatch(definition)
    assert found is not None, definition
    kind, start, step, low, high, cache, cycles = found.groups()
    return kind, start, step, low, high, cache, bool(cycles)


def options(definition: str) -> str:
    """What a definition says, but for its type, in the words of ``CREATE SEQUENCE``."""
    _, start, step, low, high, cache, cycles = _parts(definition)
    return (
        f"INCREMENT BY {step} MINVALUE {low} MAXVALUE {high} START WITH {start} CACHE {cache} "
        f"{'' if cycles else 'NO '}CYCLE"
    )


def create(thing: Thing, definition: str) -> str:
    """A statement that makes an explicit sequence."""
    kind = _parts(definition)[0]
    return f"CREATE SEQUENCE {qualified(thing.name)} AS {kind} {options(definition)}"


def _name(thing: Thing) -> str:
    """An expression of a sequence's name: that of a column is known by its column."""
    if thing.table == thing.name:
        return f"{literal(qualified(thing.name))}::regclass"
    return f"pg_get_serial_sequence({literal(qualified(thing.table))}, {literal(thing.name)})"


def alter(thing: Thing, old: str, new: str) -> str:
    """A statement that changes a sequence's options; it goes on where it was, if it may.

    Args:
        thing: a sequence, by its own name or by its column.
        old: what it is.
        new: what it is to be.
    """
    kind, start, step, low, high, _, _ = _parts(new)
    was = _parts(old)[2]
    furthest = "greatest" if int(step) > 0 else "least"
    bound = low if int(step) > 0 else high
    return f"""\
DO $alter$ DECLARE
  name regclass := {_name(thing)};
  next bigint;
BEGIN
  EXECUTE format(
    'SELECT CASE WHEN is_called THEN {furthest}(last_value + {was}, {bound}) ELSE {start} END '
    'FROM %s', name
  ) INTO next;
  EXECUTE format(
    'ALTER SEQUENCE %s AS {kind} {options(new)} RESTART WITH %s',
    name, next
  );
END $alter$"""


def drop_owned(table: str, column: str) -> str:
    """A statement that drops the sequence of a serial column, whose default is gone."""
    name = _name(Thing("sequence", table, column))
    return f"DO $drop$ BEGIN EXECUTE 'DROP SEQUENCE ' || {name}; END $drop$"


def rename(table: str, column: str, name: str) -> str:
    """A statement that gives the sequence of a column another name."""
    owned = _name(Thing("sequence", table, column))
    return (
        f"DO $rename$ BEGIN EXECUTE format('ALTER SEQUENCE %s RENAME TO %I', {owned}, "
        f"{literal(name)}); END $rename$"
    )


def follow_rows(table: str, column: str, definition: str) -> str:
    """A statement that has a new sequence go on after the numbers that rows have.

    Args:
        table: of the rows.
        column: whose sequence it is.
        definition: of the sequence.
    """
    _, start, step, *_ = _parts(definition)
    furthest, order = ("max", ">=") if int(step) > 0 else ("min", "<=")
    value = f"{furthest}({quote(column)})"
    name = _name(Thing("sequence", table, column))
    return f"SELECT setval({name}, {value}) FROM {qualified(table)} HAVING {value} {order} {start}"
