"""The status of the servers of a database: asked just now, or as they last answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from orm.bookmark import Bookmark
from orm.servers.server import Role, Server

__all__ = ["ServerStatus", "ask", "known"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it answered.

    Attributes:
        name: ``"primary"``, ``"replica-1"``, …
        role: ``"primary"`` or ``"replica"``: what the server says that it is, where it can tell.
        url: where it is, without the password.
        at: its position; None while that is not known.
        behind: how much it lacks; None while its position is not known, or not comparable.
        unit: what `behind` counts: ``"commits"``, or ``"bytes"`` of the log.
        seconds: since the latest commit that it shows, 0 if it lacks nothing; so its lag is at most
            that. None where the engine does not tell.
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


async def ask(primary: Server, replicas: Sequence[Server]) -> list[ServerStatus]:
    """Ask all servers; the primary comes first in the answer."""
    # The primary is asked last: a replica that was asked later could be ahead of it.
    await asyncio.gather(*(replica.probe() for replica in replicas))
    await primary.probe()
    return known(primary, replicas)


def known(primary: Server, replicas: Sequence[Server]) -> list[ServerStatus]:
    """What all servers answered last; the primary comes first."""
    head, now = primary.knowledge.at, monotonic()
    return [_status(server, head, now) for server in (primary, *replicas)]


def _status(server: Server, head: Bookmark | None, now: float) -> ServerStatus:
    behind = None if head is None else server.behind(head)
    role = server.role
    if server.is_standby is not None:
        role = "replica" if server.is_standby else "primary"
    seconds = 0.0 if behind == 0 and server.is_standby else server.replayed
    return ServerStatus(
        name=server.name,
        role=role,
        url=server.url.render_as_string(),
        at=server.knowledge.at,
        behind=behind,
        unit=server.unit,
        seconds=None if role == "primary" else seconds,
        error=server.knowledge.error,
        age=None if server.asked is None else now - server.asked,
    )
