"""How the values of a column become those of another type, and when they must not.

PostgreSQL casts by itself what it can assign, raises an error where a value is too long or out of
range, and rounds or cuts off the rest without a word: a fraction, a time of day, an offset. An
explicit cast cuts off a string, so none has a length.
"""

import re
from typing import Final

from orm.backends.postgresql.writing.columns import Column
from orm.backends.postgresql.writing.names import quote

__all__ = ["changed", "has_value", "using"]

_INTEGERS: Final = ("smallint", "integer", "bigint")
_FLOATS: Final = ("real", "double precision")
_NUMBERS: Final = (*_INTEGERS, "numeric", *_FLOATS)
_TEXTS: Final = ("text", "character varying", "character")
_LOCAL: Final = "timestamp without time zone"
_ABSOLUTE: Final = "timestamp with time zone"
_MOMENTS: Final = ("date", _LOCAL, _ABSOLUTE)
_TIMES: Final = ("time without time zone", "time with time zone", "interval")
_JSON: Final = ("json", "jsonb")
_FORMS: Final = frozenset({"bytea", "interval", "tsvector"})
"""Types whose values no other type has, however they are written."""


def using(old: Column, new: Column) -> str | None:
    """The expression that makes a value of the new type; None if PostgreSQL assigns it by itself.

    A moment without a time zone is one of UTC.
    """
    value, before, after = quote(old.name), old.base, new.base
    match before, after:
        case _, "numeric" if before in _FLOATS:  # without the text it is rounded to fewer digits
            return f"{value}::text::{after}"
        case _ if before == after or (before in _NUMBERS and after in _NUMBERS):
            return None
        case ("timestamp without time zone", "timestamp with time zone") | (
            "timestamp with time zone",
            "timestamp without time zone",
        ):
            return f"{value} AT TIME ZONE 'UTC'"
        case "date", "timestamp with time zone":
            return f"{value}::timestamp AT TIME ZONE 'UTC'"
        case "timestamp with time zone", "date":
            return f"({value} AT TIME ZONE 'UTC')::date"
        case "inet", _ if after in _TEXTS:  # what programs are shown: a cast writes /32, too
            return f"abbrev({value})"
        case "bytea", _ if after in _TEXTS:
            return f"convert_from({value}, 'UTF8')"
        case _, "bytea" if before in _TEXTS:
            return f"convert_to({value}, 'UTF8')"
        case "boolean", _ if after in _NUMBERS:
            return f"{value}::integer"
        case _, "boolean" if before in _NUMBERS:
            return f"{value} <> 0"
        case _ if (
            after in _TEXTS
            or (before in _MOMENTS and after in _MOMENTS)
            or (before in _JSON and after in _JSON)
            or (before, after) == ("time without time zone", "interval")
            or (before, after) == ("interval", "time without time zone")
        ):
            return None
        case _ if before in _TEXTS:
            return f"{value}::{after}"
        case _:
            array = "[]" if before.endswith("[]") and after.endswith("[]") else ""
            return f"{value}::text{array}::{after}"


def has_value(column: Column) -> str:
    """The condition of rows that have a value in a column."""
    return f"{quote(column.name)} IS NOT NULL"


def changed(old: Column, new: Column) -> str | None:
    """The condition of a value that would be another one afterwards, without an error.

    Returns:
        SQL; None if there is no such value.
    """
    value, before, after = quote(old.name), old.base, new.base
    if _is_wider(old, new):
        return None
    if before.endswith("[]") and after.endswith("[]"):
        return f"({value}::text[]::{new.type}::text[]::{old.type})::text <> {value}::text"
    if _has_another_form(before, after):
        return has_value(old)
    if before in (*_TEXTS, *_JSON) and after in _INTEGERS:
        return None  # what is no whole number is an error
    if before in (*_NUMBERS, *_TEXTS, *_JSON) and after in _NUMBERS:
        through = "" if before in (*_INTEGERS, "numeric") else "::text"
        return f"{_exact(f'{value}{through}::{new.type}', after)} <> {_exact(value, before)}"
    if before in _NUMBERS and after == "boolean":
        return f"{value} NOT IN (0, 1)"
    if before in _TEXTS and after == "character varying":
        return f"char_length({value}) > {_lengths(new)[0]}"  # spaces would be cut off
    if (before in _TEXTS, after) == (True, "time without time zone"):
        return f"{value}::interval <> {value}::{new.type}"
    if before in _TEXTS and after == "date":
        return f"{value}::timestamp <> {value}::date"
    if before in _TEXTS and after == _LOCAL:
        zone = "current_setting('TimeZone')"
        return f"{value}::{new.type} <> {value}::timestamptz AT TIME ZONE {zone}"
    if (before, after) == (_ABSOLUTE, "date"):
        return f"({value} AT TIME ZONE 'UTC')::date <> {value} AT TIME ZONE 'UTC'"
    if before in _MOMENTS and after in _MOMENTS:
        as_moment = "date" if after == "date" else new.type
        return f"{value}::{as_moment} <> {value}"
    if before in _TIMES and after in _TIMES:
        return f"{value}::{new.type}::{old.type} <> {value}"
    if using(old, new) == f"{value}::text::{after}":
        return f"{value}::text::{new.type}::text <> {value}::text"
    return None


def _has_another_form(before: str, after: str) -> bool:
    """Whether a program would read another value, however the old one is written."""
    return before != after and (
        not _FORMS.isdisjoint((before, after)) or before.endswith("[]") != after.endswith("[]")
    )


def _exact(value: str, base: str) -> str:
    """A number as one of all its digits: a cast from a float has fewer."""
    return value if base in (*_INTEGERS, "numeric") else f"{value}::text::numeric"


def _is_wider(old: Column, new: Column) -> bool:
    """Whether a number or a moment of the old type is one of the new type as well."""
    before, after = old.base, new.base
    if before in _INTEGERS:
        return after in _INTEGERS or new.type == "numeric"
    if before in _TEXTS and after == "character varying":
        return not _lengths(new) or 0 < (_lengths(old) or [0])[0] <= _lengths(new)[0]
    if (before, after) == ("real", "double precision") or (
        before in _NUMBERS and new.type == "numeric"
    ):
        return True
    if (before, after) == ("numeric", "numeric"):
        return _whole(new) >= _whole(old) and _scale(new) >= _scale(old)
    if before == "date":
        return after in _MOMENTS
    if before in _MOMENTS[1:] and after in _MOMENTS[1:]:
        return _precision(new) >= _precision(old)
    return before == after and before in _TIMES and _precision(new) >= _precision(old)


def _lengths(column: Column) -> list[int]:
    found = re.search(r"\((.*?)\)", column.type)
    return [int(number) for number in found[1].split(",")] if found else []


def _scale(column: Column) -> int:
    return [*_lengths(column), 0][1] if _lengths(column) else 1000


def _whole(column: Column) -> int:
    return _lengths(column)[0] - _scale(column) if _lengths(column) else 1000


def _precision(column: Column) -> int:
    return _lengths(column)[0] if _lengths(column) else 6
