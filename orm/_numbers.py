"""Options that are numbers: looked at where they are given, and not where Python fails on them."""

from math import isfinite, nan
from numbers import Real

from orm.exceptions import ConfigurationError

__all__ = ["count", "number", "seconds"]


def seconds(name: str, given: object, *, least: str = "0 or more") -> float:
    """The value of an option that is a time.

    Args:
        name: of the option.
        given: its value.
        least: ``"0 or more"`` or ``"over 0"``.

    Raises:
        ConfigurationError: it is no number of seconds, or too small, or has no end.
    """
    return _checked(f"{name} is a number of seconds, {least}", given, least)


def number(name: str, given: object) -> float:
    """The value of an option that is a number over 0.

    Raises:
        ConfigurationError: it is none.
    """
    return _checked(f"{name} is a number over 0", given, "over 0")


def count(name: str, given: object, *, least: int = 0, or_else: str = "") -> int:
    """The value of an option that says how many.

    Args:
        name: of the option.
        given: its value.
        least: the smallest number.
        or_else: what it may be instead of a number.

    Raises:
        ConfigurationError: it is no whole number, or too small.
    """
    if isinstance(given, int) and not isinstance(given, bool) and given >= least:
        return given
    raise ConfigurationError(
        f"{name} is a whole number, {least} or more{or_else}, and not {given!r}"
    )


def _checked(says: str, given: object, least: str) -> float:
    value = nan if isinstance(given, bool) or not isinstance(given, Real) else float(given)
    if isfinite(value) and (value > 0 or (value == 0 and least == "0 or more")):
        return value
    raise ConfigurationError(f"{says}, and not {given!r}")
