"""How the servers of a database are, asked just now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orm.watcher import Role, Server

__all__ = ["ServerStatus", "ask"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it answered just now.

    Attributes:
        name: ``"primary"``, ``"replica-1"``, …
        role: ``"primary"`` or ``"replica"``.
        url: where it is, without the password.
        behind: commits that it lacks; None while its position is not known, or not comparable.
        error: why it serves nobody; None when it serves.
    """

    name: str
    role: Role
    url: str
    behind: int | None
    error: str | None


async def ask(primary: Server, replicas: Sequence[Server]) -> list[ServerStatus]:
    """Ask them all; the primary comes first in the answer."""
    # The primary is asked last, so that no replica answers from after it.
    await asyncio.gather(*(replica.probe() for replica in replicas))
    await primary.probe()
    head = primary.knowledge.at
    return [
        ServerStatus(
            server.name,
            server.role,
            server.url.render_as_string(),
            server.knowledge.at.behind(head) if head and server.knowledge.at else None,
            server.knowledge.error,
        )
        for server in (primary, *replicas)
    ]
