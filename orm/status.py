"""How the servers of a database are: asked just now, or as they last answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from orm.bookmark import Bookmark
from orm.watcher import Role, Server

__all__ = ["ServerStatus", "ask", "known"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it answered.

    Attributes:
        name: ``"primary"``, ``"replica-1"``, …
        role: ``"primary"`` or ``"replica"``.
        url: where it is, without the password.
        at: where it is in which history; None while that is not known.
        behind: commits that it lacks; None while its position is not known, or not comparable.
        error: why it serves nobody; None when it serves.
        age: seconds since it was asked; None before the first time.
    """

    name: str
    role: Role
    url: str
    at: Bookmark | None
    behind: int | None
    error: str | None
    age: float | None


async def ask(primary: Server, replicas: Sequence[Server]) -> list[ServerStatus]:
    """Ask them all; the primary comes first in the answer."""
    # The primary is asked last, so that no replica answers from after it.
    await asyncio.gather(*(replica.probe() for replica in replicas))
    await primary.probe()
    return known(primary, replicas)


def known(primary: Server, replicas: Sequence[Server]) -> list[ServerStatus]:
    """What they answered last; the primary comes first."""
    head, now = primary.knowledge.at, monotonic()
    return [
        ServerStatus(
            name=server.name,
            role=server.role,
            url=server.url.render_as_string(),
            at=server.knowledge.at,
            behind=server.knowledge.at.behind(head) if head and server.knowledge.at else None,
            error=server.knowledge.error,
            age=None if server.asked is None else now - server.asked,
        )
        for server in (primary, *replicas)
    ]
