"""The options that all sessions of a `Database` have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, TypeVar

from orm._numbers import seconds
from orm.exceptions import ConfigurationError
from orm.routing.decision import Route
from orm.servers.timing import HEARTBEAT

__all__ = ["Rules", "checked_keys", "checked_staleness", "listed"]

_T = TypeVar("_T")


@dataclass(kw_only=True)
class Rules:
    """How the sessions of one `Database` are routed.

    Attributes:
        max_wait: seconds that a read may wait for a replica before the primary serves it.
        max_staleness: seconds that a replica may be behind the primary; None allows any lag.
        fallback: whether the primary serves reads that no replica can serve.
        keys: secret keys of bookmarks; the first one signs.
        zones: of replicas, the best one first.
        stray_bookmarks: what to do with a bookmark that is not of this database's history.
        observers: functions that are called with the route of each transaction.
        turns: counts reads; replicas that are alike take turns.

    Raises:
        ConfigurationError: one of them cannot work so; the message says what to change.
    """

    max_wait: float
    max_staleness: float | None = None
    fallback: bool
    keys: Sequence[bytes]
    stray_bookmarks: Literal["primary", "error"]
    zones: Sequence[str] = ()
    observers: tuple[Callable[[Route], None], ...] = ()
    turns: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        seconds("max_wait", self.max_wait)
        if self.stray_bookmarks not in ("primary", "error"):
            raise ConfigurationError("stray_bookmarks is 'primary' or 'error'")
        checked_staleness(self.max_staleness)


def listed(name: str, given: Sequence[_T]) -> Sequence[_T]:
    """The value of an option that is a list.

    Raises:
        ConfigurationError: it is none; or one string, which would be a list of letters.
    """
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"{name} is a list, and not {given!r}")
    if isinstance(given, str | bytes):
        raise ConfigurationError(f"{name} is a list, and not one string: {name}=[…]")
    return given


def checked_keys(given: Sequence[object]) -> tuple[bytes, ...]:
    """Secret keys of bookmarks, as they are used.

    Raises:
        ConfigurationError: they are no list of keys, or one of them is empty.
    """
    keys: list[bytes] = []
    for key in listed("bookmark_keys", given):
        match key:
            case str() | bytes() if key:
                keys.append(key.encode() if isinstance(key, str) else key)
            case _:
                is_a_key = isinstance(key, str | bytes)
                what = "empty" if is_a_key else f"of type {type(key).__name__}"
                raise ConfigurationError(
                    f"a key of bookmark_keys is {what}: give random text, such as that of "
                    "python -c 'import secrets; print(secrets.token_urlsafe())', and look whether "
                    "the variable that it is read from is set"
                )
    return tuple(keys)


def checked_staleness(given: float | None) -> float | None:
    """A bound of staleness that can be kept, in seconds.

    Raises:
        ConfigurationError: it is no number, or too short, since servers are asked now and then.
    """
    if given is not None and seconds("max_staleness", given) < 2 * HEARTBEAT:
        raise ConfigurationError(
            f"max_staleness is {2 * HEARTBEAT:g} seconds or more: each server is asked every "
            f"{HEARTBEAT:g} s. A session that must see everything starts 'first-primary'"
        )
    return given
