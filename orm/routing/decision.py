"""Where a read goes: one pure function of what is known, without I/O.

It answers with the server to use, or with what has to happen before a server can be chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orm.bookmark import Bookmark
from orm.servers.server import Role, Server
from orm.servers.timing import ALIKE

__all__ = ["Reason", "Route", "choose", "counted", "describe", "route_to"]


class Reason(StrEnum):
    """Why a transaction runs where it runs."""

    UNLINKED = "the session has seen nothing yet, so any replica may answer"
    CAUGHT_UP = "it has all that the session has seen and written"
    WAITED = "it caught up while the read waited"
    FIRST_PRIMARY = "the session starts on the primary"
    MAY_WRITE = "the transaction may write"
    ASKED = "the statement asked for the primary"
    FALLBACK = "no replica has caught up"
    CROWDED = "replicas have caught up, and all connections to them are in use"
    NO_REPLICAS = "there are no replicas"
    ONE_SNAPSHOT = "behind a pooler only the primary is new enough for certain"
    STRAY_BOOKMARK = "the bookmark is of another database, or of this one before it was restored"


@dataclass(frozen=True, slots=True)
class Route:
    """Which server serves a transaction, and why.

    Attributes:
        server: its name, such as ``"replica-1"``.
        role: ``"primary"`` or ``"replica"``.
        at: a position that the server was known to have reached; None if none was known.
        waited: seconds that the first read waited for a replica to catch up.
        reason: why this server.
        fenced: seconds that the transaction waited for the primary to show what the session has
            seen on a replica; 0 on a replica.
    """

    server: str
    role: Role
    at: Bookmark | None
    waited: float
    reason: Reason
    fenced: float = 0.0


def route_to(server: Server, reason: Reason, waited: float = 0.0, fenced: float = 0.0) -> Route:
    """The route to a server, with the position of the server that is known now.

    Args:
        server: the one that serves the transaction.
        reason: why.
        waited: seconds that the read waited for a replica.
        fenced: seconds that the transaction waited for the primary.
    """
    return Route(server.name, server.role, server.knowledge.at, waited, reason, fenced)


def choose(
    need: Bookmark,
    replicas: Sequence[Server],
    *,
    last: Server | None,
    turn: int,
    now: float,
    zones: Sequence[str] = (),
    may_wait: bool,
) -> Server | Literal["wait", "primary"]:
    """The replica for a read at `need`, or what to do instead.

    Args:
        need: what the server must have.
        replicas: the replicas to choose from.
        last: the server that the session read from last, if that read has not been located yet: to
            stay there takes no round trip.
        turn: a counter: which two replicas are compared; those that are alike take turns.
        now: seconds on the event loop's clock.
        zones: the best one first.
        may_wait: whether any waiting time is left.

    Returns:
        The replica; ``"wait"`` if one of the replicas may catch up soon; else ``"primary"``.
    """
    able = [server for server in replicas if server.covers(need)]
    if last in able:
        return last
    if able:
        return _fastest(_nearest(able, zones), turn, now)
    if may_wait and any(server.worth_waiting_for for server in replicas):
        return "wait"
    return "primary"


def _nearest(servers: Sequence[Server], zones: Sequence[str]) -> Sequence[Server]:
    """The servers of the first zone that has any; those of other zones come last."""
    for zone in zones:
        near = [server for server in servers if server.zone == zone]
        if near:
            return near
    return servers


def _fastest(servers: Sequence[Server], turn: int, now: float) -> Server:
    """The better one of two, which differ from read to read.

    To take the best of all would send all processes to it at once, until it is the worst
    (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
    """
    count = len(servers)
    one = servers[turn % count]
    if count == 1:
        return one
    other = servers[(turn + 1 + turn // count % (count - 1)) % count]
    gap = one.load(now) - other.load(now)
    return other if gap > ALIKE else one


def describe(need: Bookmark, replicas: Sequence[Server]) -> str:
    """Why each replica cannot serve a read at `need`, for an error message."""
    return (
        "; ".join(f"{server.name} {_state(need, server)}" for server in replicas) or "no replicas"
    )


def _state(need: Bookmark, server: Server) -> str:
    known = server.knowledge
    if known.error is not None:
        return f"serves no session ({known.error})"
    if known.at is None:
        return "has no known position"
    behind = server.behind(need)
    return (
        "is of another history" if behind is None else f"is {counted(behind, server.unit)} behind"
    )


def counted(number: int, unit: str) -> str:
    """A number with its unit, for people: ``"1 commit"``, ``"2 commits"``, ``"12.3 MB"``.

    Args:
        number: how many.
        unit: in the plural. Many bytes are told as kB, MB, …, of 1,000 each.
    """
    if unit == "bytes" and number >= 1000:
        amount, prefixes = number / 1000, iter("kMGTP")
        prefix = next(prefixes)
        while amount >= 999.5:
            amount, prefix = amount / 1000, next(prefixes)
        return f"{amount:.3g} {prefix}B"
    return f"{number:,} {unit.removesuffix('s') if number == 1 else unit}"
