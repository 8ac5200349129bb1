"""The options that all sessions of a `Database` have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from orm.routing.decision import Route

__all__ = ["Rules"]


@dataclass(kw_only=True)
class Rules:
    """How the sessions of one `Database` are routed.

    Attributes:
        max_wait: seconds that a read may wait for a replica before the primary serves it.
        fallback: whether the primary serves reads that no replica can serve.
        keys: secret keys of bookmarks; the first one signs.
        stray_bookmarks: what to do with a bookmark that is not of this database's history.
        observers: functions that are called with the route of each transaction.
        turns: counts reads; replicas that are equally good take turns.
    """

    max_wait: float
    fallback: bool
    keys: Sequence[bytes]
    stray_bookmarks: Literal["primary", "error"]
    observers: tuple[Callable[[Route], None], ...] = ()
    turns: "count[int]" = field(default_factory=count)
