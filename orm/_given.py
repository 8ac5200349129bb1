"""Arguments of a kind: looked at where they are given, and not where Python fails on them."""

from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import TypeVar

from orm.exceptions import ConfigurationError

__all__ = ["function", "instance", "mapping", "name", "switch"]

_T = TypeVar("_T")


def instance(argument: str, given: object, kind: type[_T], what: str) -> _T:
    """An argument that is of a class.

    Args:
        argument: its name.
        given: its value.
        kind: the class.
        what: the class as people say it, such as ``"a Database"``.

    Raises:
        ConfigurationError: it is of another one.
    """
    if isinstance(given, kind):
        return given
    raise ConfigurationError(f"{argument} is {what}, and not {given!r}")


def switch(argument: str, given: object) -> bool:
    """An argument that is on or off; a text such as ``"false"`` would be on.

    Raises:
        ConfigurationError: it is neither.
    """
    return instance(argument, given, bool, "True or False")


def mapping(argument: str, given: object, what: str) -> None:
    """An argument that is a mapping.

    Args:
        argument: its name.
        given: its value.
        what: it as people say it, such as ``"a dict of options"``.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{argument} is {what}, and not {given!r}")


def name(argument: str, given: object) -> str:
    """An argument that names something.

    Raises:
        ConfigurationError: it is no text, or has no letter.
    """
    if given != "":
        return instance(argument, given, str, "a text")
    raise ConfigurationError(f"{argument} is a text, and not an empty one")


def function(argument: str, given: object) -> None:
    """An argument that is called, and not awaited.

    Raises:
        ConfigurationError: it cannot be.
    """
    if not callable(given) or iscoroutinefunction(given):
        raise ConfigurationError(
            f"{argument} is a function that is not async, and {given!r} is none"
        )
