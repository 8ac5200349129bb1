"""How often clients went from one server to another, which is where a promise can break."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from orm.testing.consistency.history import History, Operation

__all__ = ["Move", "moves"]


class Move(StrEnum):
    """Between which servers."""

    TO_PRIMARY = "from a replica to the primary"
    TO_REPLICA = "from the primary to a replica"
    BETWEEN = "from one replica to another"


def moves(own: History, history: Iterable[Operation], primary: str) -> Counter[Move]:
    """Count the operations that another server served than one that they follow.

    Args:
        own: those that are counted.
        history: all, with those whose bookmarks they were started from.
        primary: the name of the server that a `Database` was given as its primary.
    """
    served = {o.id: o.server for o in history if o.server}
    return Counter(
        _move(served[earlier], o.server, primary)
        for o in own
        for earlier in o.after
        if o.outcome == "ok" and o.server and served.get(earlier, o.server) != o.server
    )


def _move(before: str, after: str, primary: str) -> Move:
    if after == primary:
        return Move.TO_PRIMARY
    return Move.TO_REPLICA if before == primary else Move.BETWEEN
