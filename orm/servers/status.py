"""The status of the servers of a database: asked just now, or as they last answered."""

import asyncio
from dataclasses import dataclass
from functools import reduce
from time import monotonic

from sqlalchemy import URL

from orm.backends import Roles
from orm.bookmark import Bookmark
from orm.servers.cluster import Cluster
from orm.servers.naming import address_of
from orm.servers.server import Role, Server
from orm.servers.timing import ROLE_CHANGES

__all__ = ["ServerStatus", "ask", "known"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server as it answered.

    Attributes:
        name: what the user calls it; by default its host, or ``"primary"``, ``"replica-1"``, … for
            one that has none.
        role: ``"primary"`` or ``"replica"``: what the server says that it is, where it can tell.
        url: where it is, without the password.
        host: its host, and its port if the URL has one; None where the database is a file.
        at: its position; None while that is not known.
        place: the same, as the engine's own tools write it, such as ``"0/3058120 on timeline 2"``.
        timeline: which primary its position comes from: PostgreSQL's timeline, or the term on
            MariaDB and MySQL. None where it is not known, or the engine has none.
        behind: how much it lacks of what the primary has; of what the primary last said, while that
            does not answer; of what the furthest server has, if it never did. None while its
            position is not known, or not comparable.
        unit: what `behind` counts: ``"commits"``, or ``"bytes"`` of the log.
        seconds: that it is behind the primary, at most. None where that is not known, or it is the
            primary.
        promoted: whether it takes writes and follows no server, but is not the primary, or not yet.
        error: why it serves no session; None when it serves.
        age: seconds since it was asked; None before the first time.
    """

    name: str
    role: Role
    url: str
    host: str | None
    at: Bookmark | None
    place: str | None
    timeline: int | None
    behind: int | None
    unit: str
    seconds: float | None
    promoted: bool
    error: str | None
    age: float | None


async def ask(cluster: Cluster) -> list[ServerStatus]:
    """Ask all servers; the primary comes first in the answer."""
    for _ in range(ROLE_CHANGES):
        epoch = cluster.epoch.number
        # The primary is asked last: a replica that was asked later could be ahead of it.
        await asyncio.gather(*map(_asked, cluster.replicas))
        await _asked(cluster.primary)
        if cluster.epoch.number == epoch:
            break  # else what was answered before means something else by now
    return known(cluster)


async def _asked(server: Server) -> None:
    await (server.hear() if server.unreachable else server.probe())


def known(cluster: Cluster) -> list[ServerStatus]:
    """What all servers answered last; the primary comes first."""
    head = _head(cluster)
    return [_status(cluster, server, head) for server in (cluster.primary, *cluster.replicas)]


def _head(cluster: Cluster) -> Bookmark | None:
    """By what lag is measured."""
    at = cluster.primary.knowledge.at or cluster.epoch.at
    if at is not None:
        return at
    others = [one.knowledge.at for one in cluster.replicas if one.knowledge.at is not None]
    return reduce(lambda a, b: b if b.covers(a) else a, others) if others else None


def _status(cluster: Cluster, server: Server, head: Bookmark | None) -> ServerStatus:
    at = server.knowledge.at
    behind = None if head is None else server.behind(head)
    role = server.role
    if server.is_standby is not None:
        role = "replica" if server.is_standby else "primary"
    return ServerStatus(
        name=server.name,
        role=role,
        url=server.url.render_as_string(),
        host=_host(server.url),
        at=at,
        place=None if at is None else cluster.backend.place(at),
        timeline=None if at is None else _timeline(cluster.roles, at),
        behind=behind,
        unit=server.unit,
        seconds=None if role == "primary" else _seconds(cluster, server, behind),
        promoted=server.is_candidate,
        error=server.knowledge.error or _unknown(at, head, behind),
        age=None if server.asked is None else monotonic() - server.asked,
    )


def _unknown(at: Bookmark | None, head: Bookmark | None, behind: int | None) -> str | None:
    """Why a server that answers serves no session."""
    if head is None or behind is not None:
        return None
    return (
        "its position is not known" if at is None else "it is of another history than the primary"
    )


def _host(url: URL) -> str | None:
    host = url.query.get("host")  # as libpq takes them: a socket's folder, or several hosts
    named = host if host is None or isinstance(host, str) else ",".join(host)
    return address_of(url) or named


def _timeline(roles: Roles, at: Bookmark) -> int | None:
    latest = roles.as_need(at).position
    return int(latest[0][0]) if len(latest) == 1 and latest[0][0].isdecimal() else None


def _seconds(cluster: Cluster, server: Server, behind: int | None) -> float | None:
    """The lesser of two bounds: what the engine says, and what the primary's answers prove."""
    if behind == 0 and cluster.primary.knowledge.error is None:
        return 0.0
    at = server.knowledge.at
    until = None if at is None else cluster.past.shown_until(at)
    # Threads without a loop of their own ask, too: an exporter's, for example.
    now = (cluster.loop or asyncio.get_running_loop()).time()
    told = None if server.replayed is None else server.replayed + now - server.asked_at
    bounds = [
        bound for bound in (told, None if until is None else now - until) if bound is not None
    ]
    return min(bounds, default=None)
