"""Values of a column whose type changes, in the form in which the new type keeps them.

SQLite stores what it is given, whatever the column's type is, and SQLAlchemy keeps dates, times,
UUIDs and JSON as text of one form each (SQLAlchemy "SQLite: Date and Time Types"). ``CAST`` makes
the year 2024 of the date 2024-01-02. So each value is brought into the new form, or the change is
refused.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    String,
    Time,
    TypeDecorator,
    Uuid,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine

from orm.exceptions import MigrationError

__all__ = ["has_same_name", "in_new_form"]

_Value = ColumnElement[Any]


class _Form(NamedTuple):
    """How the values of a type are stored.

    Attributes:
        fits: whether a value can be brought into the form; it is not NULL.
        brought: the value in the form.
        name: what people call it; None for the type's name in SQL.
    """

    fits: Callable[[_Value], ColumnElement[bool]]
    brought: Callable[[_Value], _Value] = lambda value: value
    name: str | None = None


def in_new_form(
    connection: Connection,
    where: str,
    value: ColumnElement[Any],
    old: TypeEngine[Any],
    new: TypeEngine[Any],
) -> ColumnElement[Any]:
    """The value of a column as a column of another type keeps it.

    Args:
        connection: to the database.
        where: the column's table and name, for people.
        value: the column, as it is now.
        old: the type that the database says it has.
        new: the type that it gets.

    Raises:
        MigrationError: a row has a value that cannot be brought into the new form.
    """
    dialect = connection.dialect
    before, after = (_implementation(one, dialect) for one in (old, new))
    # The labels of an enum are not in the name that the database knows.
    if has_same_name(connection, new, old) and not isinstance(after, Enum):
        return value
    form = _form(after)
    if form is None or form == _form(before) or _is_longer(before, after):
        return value
    plain = type_coerce(value, NullType())
    misfits = select(func.count(), func.min(plain)).where(plain.is_not(None), ~form.fits(plain))
    count, example = connection.execute(misfits.execution_options(probe=True)).one()
    if count:
        name = form.name or dialect.type_compiler_instance.process(new)
        raise MigrationError(
            f"{where} cannot become {name}: {count} row(s) have a value there that is no "
            f"{name}, such as {example!r}. Update these rows in the same revision, before the "
            "column changes"
        )
    return form.brought(plain)


def has_same_name(connection: Connection, one: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Whether two types are the same to the database.

    Args:
        connection: to the database.
        one: a type.
        other: another one; a column may have none at all, for which there is no SQL.
    """
    name = connection.dialect.type_compiler_instance.process
    return not isinstance(other, NullType) and name(one) == name(other)


def _implementation(type_: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """What SQLAlchemy uses for the type on this engine."""
    found = type_.dialect_impl(dialect)
    while isinstance(found, TypeDecorator) and not isinstance(found, Interval | PickleType):
        found = found.impl_instance.dialect_impl(dialect)
    return found


def _is_longer(before: TypeEngine[Any], after: TypeEngine[Any]) -> bool:
    """Whether strings get no other form than that they may be longer."""
    lengths = [
        one.length if isinstance(one, String) and not isinstance(one, Enum) else None
        for one in (before, after)
    ]
    return None not in lengths and lengths[0] <= lengths[1]  # type: ignore[operator]


def _form(type_: TypeEngine[Any]) -> _Form | None:
    """The form of a type's values; None if it is not known, and values stay as they are."""
    if isinstance(type_, Enum):
        return _enum(tuple(type_.enums))
    if isinstance(type_, String) and type_.length is not None:
        return _text_of(type_.length)
    return next((form for types, form in _FORMS if isinstance(type_, types)), None)


# Kinds of values ---------------------------------------------------------------------------


def _is(value: _Value, *kinds: str) -> ColumnElement[bool]:
    return func.typeof(value).in_(kinds)


def _number_in(value: _Value, *kinds: str) -> ColumnElement[bool]:
    """Whether it is text that is a number, as JSON writes numbers."""
    is_text = and_(_is(value, "text"), func.json_valid(value) == 1)
    return and_(is_text, case((is_text, func.json_type(value).in_(kinds)), else_=False))


def _like(value: _Value, *patterns: str) -> ColumnElement[bool]:
    return or_(*(value.op("GLOB", is_comparison=True)(literal_column(f"'{p}'")) for p in patterns))


def _is_integer(value: _Value) -> ColumnElement[bool]:
    whole = and_(_is(value, "integer", "real"), cast(value, Integer) == value)
    canonical = cast(cast(value, Integer), String) == value
    return or_(whole, and_(_number_in(value, "integer"), canonical))


def _is_number(value: _Value) -> ColumnElement[bool]:
    return or_(_is(value, "integer", "real"), _number_in(value, "integer", "real"))


def _is_boolean(value: _Value) -> ColumnElement[bool]:
    return and_(_is_integer(value), cast(value, Integer).in_((0, 1)))


def _is_json(value: _Value) -> ColumnElement[bool]:
    """Whether it is JSON; SQLite makes an inexact number of an integer that is too large for it."""
    is_text = and_(_is(value, "text"), func.json_valid(value) == 1)
    return or_(_is_integer(value), _is(value, "real"), and_(is_text, ~_number_in(value, "integer")))


def _text(value: _Value) -> _Value:
    exact = cast(cast(value, String), Float) == value
    return case(
        (and_(_is(value, "real"), ~exact), func.printf("%!.17g", value)),
        else_=cast(value, String),
    )


def _text_of(length: int) -> _Form:
    """Text that is not too long, which SQLite itself does not mind."""
    return _Form(
        lambda value: and_(~_is(value, "blob"), func.length(_text(value)) <= length), _text
    )


def _enum(labels: tuple[str, ...]) -> _Form:
    name = f"Enum({', '.join(map(repr, labels))})"
    return _Form(lambda value: and_(_is(value, "text"), value.in_(labels)), name=name)


_HEX: Final = "[0-9a-fA-F]"
_UUIDS: Final = (_HEX * 32, "-".join(_HEX * length for length in (8, 4, 4, 4, 12)))
_UUID: Final = _Form(
    lambda value: and_(_is(value, "text"), _like(value, *_UUIDS)),
    lambda value: func.lower(func.replace(value, "-", "")),
    "UUID",
)

# Dates and times ---------------------------------------------------------------------------

_DAY: Final = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_MINUTE: Final = "[0-2][0-9]:[0-5][0-9]"
_SECOND: Final = f"{_MINUTE}:[0-5][0-9]"
_FRACTIONS: Final = tuple(f"{_SECOND}.{'[0-9]' * digits}" for digits in range(1, 7))
_MIDNIGHT: Final = " 00:00:00.000000"


def _is_day(text: _Value) -> ColumnElement[bool]:
    """Whether it is a day of the calendar: of 31 February SQLite makes 2 March."""
    return and_(_like(text, _DAY), func.coalesce(func.date(text, "+0 days") == text, False))


def _is_time(text: _Value) -> ColumnElement[bool]:
    return and_(_like(text, _MINUTE, _SECOND, *_FRACTIONS), func.substr(text, 1, 2) < "24")


def _full_time(text: _Value) -> _Value:
    return text.concat(func.substr(":00.000000", func.length(text) - 4))


def _day_of(value: _Value) -> _Value:
    return func.substr(value, 1, 10)


def _time_of(value: _Value) -> _Value:
    """What follows the day."""
    return func.substr(value, 12)


def _is_datetime(value: _Value) -> ColumnElement[bool]:
    whole = and_(func.substr(value, 11, 1).in_((" ", "T")), _is_time(_time_of(value)))
    return and_(_is(value, "text"), _is_day(_day_of(value)), or_(func.length(value) == 10, whole))


def _to_datetime(value: _Value) -> _Value:
    full = _day_of(value).concat(" ").concat(_full_time(_time_of(value)))
    return case((func.length(value) == 10, value.concat(_MIDNIGHT)), else_=full)


def _is_date(value: _Value) -> ColumnElement[bool]:
    """Whether it is a day, or the beginning of one."""
    return and_(
        _is_datetime(value),
        or_(func.length(value) == 10, _to_datetime(value) == _day_of(value).concat(_MIDNIGHT)),
    )


_FORMS: Final[tuple[tuple[Any, _Form | None], ...]] = (
    (Interval, _Form(lambda value: value.is_(None), name="Interval")),
    ((LargeBinary, PickleType), _Form(lambda value: _is(value, "blob"))),
    (Uuid, _UUID),
    (JSON, _Form(_is_json)),
    (Boolean, _Form(_is_boolean, lambda value: cast(value, Integer))),
    (Integer, _Form(_is_integer, lambda value: cast(value, Integer))),
    ((Numeric, Float), _Form(_is_number, lambda value: cast(value, Numeric))),
    (DateTime, _Form(_is_datetime, _to_datetime)),
    (Date, _Form(_is_date, _day_of)),
    (Time, _Form(lambda value: and_(_is(value, "text"), _is_time(value)), _full_time)),
    (String, _Form(lambda value: ~_is(value, "blob"), _text)),
)
