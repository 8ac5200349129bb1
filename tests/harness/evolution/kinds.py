"""Kinds of columns: how models say them, which values they hold, which defaults they can have."""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

__all__ = [
    "IMPOSSIBLE",
    "KINDS",
    "MYSQL",
    "PREAMBLE",
    "ROUND_TRIP",
    "Color",
    "Kind",
    "converted",
    "kinds_of",
]

PREAMBLE: Final = '''\
from sqlalchemy import *
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.naming import conv
from orm.model import Base
from tests.harness.evolution.kinds import Color

class Cents(TypeDecorator):
    impl = Integer
    cache_ok = True

class Short(TypeDecorator):
    impl = String(30)
    cache_ok = True

class Hue(TypeDecorator):
    impl = Enum("red", "blue", "green", name="hue")
    cache_ok = True

class AutoString(TypeDecorator):
    """As SQLModel has it."""
    impl = String
    cache_ok = True
    mysql_default_length = 255

    def load_dialect_impl(self, dialect):
        impl = self.impl
        if impl.length is None and dialect.name == "mysql":
            return dialect.type_descriptor(String(self.mysql_default_length))
        return super().load_dialect_impl(dialect)
'''


class Color(enum.Enum):
    """An enumeration of the application's."""

    red = 1
    blue = 2
    green = 3


@dataclass(frozen=True)
class Kind:
    """One kind of column.

    Attributes:
        family: kinds of one family hold the same Python values.
        source: its type in Python source, in which ``{name}`` is a name for a type or a CHECK.
        values: three different values that it holds, as a program sets them.
        defaults: Python source of server defaults.
        engine: the only engine that has it; None for all.
        own: whether the type is the application's own, or one of its arguments is of a module that
            revisions do not import.
        strict: whether a STRICT table of SQLite can have it.
        lengthless: whether it is a text without a length, which MariaDB and MySQL do not have.
    """

    family: str
    source: str
    values: tuple[Any, ...] = ()
    defaults: tuple[str, ...] = ()
    engine: str | None = None
    own: bool = False
    strict: bool = False
    lengthless: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it can be in no key of MariaDB or MySQL, unless a length is said."""
        return self.family in {"json", "bytes", "pickle"} or "Text()" in self.source


_WORDS: Final = ("plain", "it's", 'ü: "q" %s \\n')
_TEXTS: Final = ('""', '"it\'s"', '"(x)"', '"a\\nb"', '"%s :x"', "text(\"'a' || 'b'\")")
_SAYS: Final = ('"x"', '"it\'s"', '""', "text(\"('a' || 'b')\")", '"(x)"', '"a\\nb :c %"')
_DATES: Final = (date(2024, 1, 2), date(1999, 12, 31), date(2000, 2, 29))
_STAMPS: Final = (
    datetime.fromisoformat("2024-01-02"),
    datetime.fromisoformat("1999-12-31 23:59:58"),
    datetime.fromisoformat("2000-02-29 01:02:03.456789"),
)
_TIMES: Final = (time(0, 0), time(9, 30), time(23, 59, 58, 123456))
_NUMBERS: Final = (0, 1, -7)
_NOW: Final = ("func.now()", 'text("CURRENT_TIMESTAMP")', 'text("(CURRENT_TIMESTAMP)")')
_UUIDS: Final = (
    UUID("12345678123456781234567812345678"),
    UUID("ffffffffffffffffffffffffffffffff"),
    UUID("00000000000000000000000000000001"),
)

KINDS: Final[tuple[Kind, ...]] = (
    Kind("integer", "Integer()", _NUMBERS, ('"0"', '"-1"', 'text("(1 + 1)")'), strict=True),
    Kind("string", "String(20)", _WORDS, _SAYS),
    Kind("string", "Text()", _WORDS, _SAYS, strict=True),
    Kind("string", "String()", _WORDS, _SAYS, lengthless=True),
    Kind("string", "String(40)", ("2024-01-02", "1999-12-31", "2000-02-29"), _SAYS),
    Kind("string", "Unicode(20)", ("12", "-7", "0"), _SAYS),
    Kind(
        "string",
        "UnicodeText()",
        ("2024-01-02 03:04:05", "1999-12-31T23:59:58", "2000-02-29 01:02:03.5"),
        _SAYS,
    ),
    Kind("string", "VARCHAR(30)", ("09:30", "00:00:00", "23:59:58.5"), _SAYS),
    Kind("string", 'String(20, collation="NOCASE")', _WORDS, _SAYS, engine="sqlite"),
    Kind("string", 'String(20, collation="C")', _WORDS, _SAYS, engine="postgresql"),
    Kind("integer", "SmallInteger()", _NUMBERS, ('"0"',)),
    Kind("integer", "BigInteger()", (2**40, 1, -7), ('"7"', 'text("1")')),
    Kind("integer", 'BigInteger().with_variant(Integer(), "sqlite")', _NUMBERS, ('"7"',)),
    Kind("boolean", "Boolean()", (True, False), ("true()", "false()", 'text("true")')),
    Kind(
        "boolean",
        'Boolean(create_constraint=True, name="{name}")',
        (True, False),
        ("true()", "false()"),
    ),
    Kind(
        "numeric",
        "Numeric(10, 2)",
        (Decimal("1.50"), Decimal("-2.00"), Decimal("12345.67")),
        ('"0.00"', 'text("1.5")'),
    ),
    Kind("numeric", "Numeric()", (Decimal(3), Decimal("0.5"), Decimal(-1)), ('"0"',)),
    Kind("float", "Float()", (1.5, -2.0, 0.1), ('"0"', 'text("1.5")')),
    Kind("float", "Double()", (1.5, -2.0, 1e300), ('"0.0"',)),
    Kind("float", "REAL()", (1.5, -2.0, 0.25), ('"0.0"',), strict=True),
    Kind("date", "Date()", _DATES, ('"2024-01-02"', 'text("CURRENT_DATE")')),
    Kind("datetime", "DateTime()", _STAMPS, (*_NOW, '"2024-01-02 00:00:00"')),
    Kind(
        "datetimetz",
        "DateTime(timezone=True)",
        tuple(stamp.replace(tzinfo=UTC) for stamp in _STAMPS),
        _NOW,
    ),
    Kind("datetime", "TIMESTAMP()", _STAMPS, _NOW),
    Kind("time", "Time()", _TIMES, ('"10:00"',)),
    Kind("interval", "Interval()", (timedelta(0), timedelta(days=3, hours=1), timedelta(hours=-1))),
    Kind("bytes", "LargeBinary()", (b"", b"\0\xff", b"text"), strict=True),
    Kind("uuid", "Uuid()", _UUIDS, (f'"{_UUIDS[0].hex}"',)),
    Kind("uuid text", "Uuid(as_uuid=False)", tuple(str(one) for one in _UUIDS)),
    Kind("json", "JSON()", ({"a": [1, "it's"]}, [], "text"), ('"{}"', "text(\"'[1, 2]'\")")),
    Kind(
        "json",
        'JSON().with_variant(JSONB(), "postgresql")',
        ({"a": 1}, 7, [None]),
        ('"{}"',),
        own=True,
    ),
    Kind("json", "JSON(none_as_null=True)", ({"a": 1}, 7, [None])),
    Kind("json", "JSONB()", ({"a": 1}, 7, [None]), ('"{}"',), engine="postgresql"),
    Kind("pickle", "PickleType()", ({1}, (1, 2), "x")),
    Kind(
        "enum", 'Enum("red", "blue", "green", name="{name}")', ("red", "blue", "green"), ('"red"',)
    ),
    Kind(
        "enum",
        'Enum("green", "red", "blue", "it\'s", name="{name}")',
        ("red", "it's", "green"),
        ('"it\'s"',),
    ),
    Kind(
        "enum",
        'Enum("red", "blue", "green", "longer than before", native_enum=False, name="{name}")',
        ("red", "blue", "longer than before"),
        ('"red"',),
    ),
    Kind(
        "enum",
        'Enum("red", "blue", "it\'s", native_enum=False, create_constraint=True, name="{name}")',
        ("red", "blue", "it's"),
        ('"it\'s"',),
    ),
    Kind(
        "enum",
        'Enum("red", "blue", native_enum=False, create_constraint=True, name="{name}")',
        ("red", "blue"),
        ('"red"',),
    ),
    Kind(
        "enum class",
        'Enum(Color, name="{name}")',
        tuple(Color),
        ('"red"',),
    ),
    Kind("enum class", 'Enum(Color, native_enum=False, name="{name}", length=30)', tuple(Color)),
    Kind("enum", "Hue()", ("red", "blue", "green"), ('"red"',), engine="postgresql", own=True),
    Kind(
        "enum",
        'String(30).with_variant(Enum("red", "blue", name="{name}"), "postgresql")',
        ("red", "blue"),
        ('"red"',),
        engine="postgresql",
    ),
    Kind("integer", "Cents()", _NUMBERS, ('"0"',), own=True),
    Kind("string", "Short()", _WORDS, _SAYS, own=True),
    Kind("string", "AutoString()", _WORDS, _SAYS, own=True, lengthless=True),
    Kind("string", "AutoString(length=50)", _WORDS, _SAYS, own=True),
    Kind("array", "ARRAY(Integer())", ([], [1, 2], [3]), ('"{}"',), engine="postgresql"),
    Kind(
        "array of text", "postgresql.ARRAY(Text())", ([], ["a", "it's"], ["x"]), engine="postgresql"
    ),
    Kind(
        "array of enum",
        'ARRAY(Enum("red", "blue", name="{name}"))',
        ([], ["red", "blue"], ["red"]),
        engine="postgresql",
    ),
    Kind("inet", "postgresql.INET()", ("10.0.0.1", "10.0.0.2", "::1"), engine="postgresql"),
    Kind("tsvector", "postgresql.TSVECTOR()", ("'a'", "'b'", "'c'"), engine="postgresql"),
)


MYSQL: Final = ("mariadb", "mysql")


def _is_constant(default: str) -> bool:
    return "||" not in default and "CURRENT" not in default


def kinds_of(engine: str, *, own: bool) -> list[Kind]:
    """The kinds that an engine has.

    Args:
        engine: SQLAlchemy's name of it.
        own: whether types of the application's own are among them.
    """
    found = [kind for kind in KINDS if kind.engine in (None, engine) and (own or not kind.own)]
    if engine not in MYSQL:
        return found
    return [
        replace(kind, defaults=tuple(filter(_is_constant, kind.defaults)))
        if not kind.is_large
        else replace(kind, defaults=())  # a large text has none but an expression
        for kind in found
        if not kind.lengthless
    ]


IMPOSSIBLE: Final = object()
"""A value that another kind cannot hold."""
ROUND_TRIP: Final = object()
"""Any text from which the old kind makes the same value."""


def converted(value: Any, old: Kind, new: Kind) -> Any:
    """The value as the other kind holds it; `IMPOSSIBLE` if it cannot, or
    `ROUND_TRIP`.

    Args:
        value: as a program reads it.
        old: the kind of the column that it was read from.
        new: the kind that the column is to become.
    """
    if value is None:
        return None
    try:
        return _CONVERSIONS[new.family](value, old, new)
    except (ValueError, TypeError, ArithmeticError, KeyError):
        return IMPOSSIBLE


def _integer(value: Any, old: Kind, _: Kind) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value) is None:
        return IMPOSSIBLE
    if not isinstance(value, str | int | float | Decimal) or _is_json_text(value, old):
        return IMPOSSIBLE
    found = int(value)
    return found if found == value or isinstance(value, str) else IMPOSSIBLE


def _boolean(value: Any, *_: object) -> Any:
    if isinstance(value, str):  # PostgreSQL writes out the words
        return {"true": True, "false": False, "1": True, "0": False}[value]
    return bool(value) if isinstance(value, int) and value in (0, 1) else IMPOSSIBLE


def _number(value: Any, old: Kind, _: Kind) -> Any:
    value = int(value) if isinstance(value, bool) else value
    if not isinstance(value, str | int | float | Decimal) or _is_json_text(value, old):
        return IMPOSSIBLE
    return Decimal(str(value))


def _is_json_text(value: Any, old: Kind) -> bool:
    return old.family == "json" and isinstance(value, str)


def _float(value: Any, old: Kind, new: Kind) -> Any:
    found = _number(value, old, new)
    return found if found is IMPOSSIBLE else float(found)


def _string(value: Any, old: Kind, _: Kind) -> Any:
    if isinstance(value, Color):
        return value.name
    return value if isinstance(value, str) and old.family != "json" else ROUND_TRIP


def _date(value: Any, *_: object) -> Any:
    if isinstance(value, datetime):
        return value.date() if value.time() == time(0) else IMPOSSIBLE
    if isinstance(value, date):
        return value
    return date.fromisoformat(value)


def _datetime(value: Any, _: Kind, new: Kind) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(0))
    elif isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else IMPOSSIBLE


def _time(value: Any, old: Kind, _: Kind) -> Any:
    if isinstance(value, str) and value[2:3] != ":":
        return IMPOSSIBLE
    return value if isinstance(value, time) else time.fromisoformat(value)


_LABELS: Final = {"Hue()": '"red", "blue", "green"'}


def _enum(value: Any, old: Kind, new: Kind) -> Any:
    name = value.name if isinstance(value, Color) else value
    if f'"{name}"' in _LABELS.get(new.source, new.source) or (
        new.family == "enum class" and name in Color.__members__
    ):
        return Color[name] if new.family == "enum class" else name
    return IMPOSSIBLE


def _json(value: Any, old: Kind, _: Kind) -> Any:
    if old.family == "json" or isinstance(value, int | float):
        return value
    return json.loads(str(value) if isinstance(value, Decimal) else value)


def _inet(value: Any, *_: object) -> Any:
    return ip_address(str(value))


def _array(value: Any, _: Kind, new: Kind) -> Any:
    return [int(one) if new.family == "array" else str(one) for one in value]


def _uuid(value: Any, *_: object) -> Any:
    return UUID(str(value))


def _uuid_text(value: Any, *_: object) -> Any:
    return str(UUID(str(value)))


def _same(value: Any, old: Kind, new: Kind) -> Any:
    return value if old.family == new.family else IMPOSSIBLE


_CONVERSIONS: Final[Mapping[str, Any]] = {kind.family: _same for kind in KINDS} | {
    "integer": _integer,
    "boolean": _boolean,
    "numeric": _number,
    "float": _float,
    "json": _json,
    "inet": _inet,
    "array": _array,
    "array of text": _array,
    "array of enum": _array,
    "uuid": _uuid,
    "uuid text": _uuid_text,
    "string": _string,
    "date": _date,
    "datetime": _datetime,
    "datetimetz": _datetime,
    "time": _time,
    "enum": _enum,
    "enum class": _enum,
}
