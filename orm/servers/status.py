"""The status of the servers of a database: asked just now, or as they last answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from orm.bookmark import Bookmark
from orm.servers.past import Past
from orm.servers.server import Role, Server

__all__ = ["ServerStatus", "ask", "known"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it answered.

    Attributes:
        name: what the user calls it; by default its host, or ``"primary"``, ``"replica-1"``, … for
            one that has none.
        role: ``"primary"`` or ``"replica"``: what the server says that it is, where it can tell.
        url: where it is, without the password.
        at: its position; None while that is not known.
        behind: how much it lacks; None while its position is not known, or not comparable.
        unit: what `behind` counts: ``"commits"``, or ``"bytes"`` of the log.
        seconds: that it is behind the primary, at most. None where that is not known, or it is the
            primary.
        error: why it serves no session; None when it serves.
        age: seconds since it was asked; None before the first time.
    """

    name: str
    role: Role
    url: str
    at: Bookmark | None
    behind: int | None
    unit: str
    seconds: float | None
    error: str | None
    age: float | None


async def ask(
    primary: Server, replicas: Sequence[Server], past: Past | None = None
) -> list[ServerStatus]:
    """Ask all servers; the primary comes first in the answer."""
    # The primary is asked last: a replica that was asked later could be ahead of it.
    await asyncio.gather(*(replica.probe() for replica in replicas))
    await primary.probe()
    return known(primary, replicas, past)


def known(
    primary: Server, replicas: Sequence[Server], past: Past | None = None
) -> list[ServerStatus]:
    """What all servers answered last; the primary comes first."""
    head = primary.knowledge.at
    return [_status(server, head, past) for server in (primary, *replicas)]


def _status(server: Server, head: Bookmark | None, past: Past | None) -> ServerStatus:
    behind = None if head is None else server.behind(head)
    role = server.role
    if server.is_standby is not None:
        role = "replica" if server.is_standby else "primary"
    return ServerStatus(
        name=server.name,
        role=role,
        url=server.url.render_as_string(),
        at=server.knowledge.at,
        behind=behind,
        unit=server.unit,
        seconds=None if role == "primary" else _seconds(server, behind, past),
        error=server.knowledge.error,
        age=None if server.asked is None else monotonic() - server.asked,
    )


def _seconds(server: Server, behind: int | None, past: Past | None) -> float | None:
    """The lesser of two bounds: what the engine says, and what the primary's answers prove."""
    if behind == 0:
        return 0.0
    at = server.knowledge.at
    until = past.shown_until(at) if past and at else None
    if until is None:
        return server.replayed
    proven = asyncio.get_running_loop().time() - until
    return proven if server.replayed is None else min(proven, server.replayed)
