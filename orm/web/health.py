"""Liveness and readiness, for load balancers and orchestrators."""

from typing import Any

from orm._given import instance
from orm.bookmark import Bookmark
from orm.database import Database
from orm.exceptions import DatabaseClosed
from orm.servers.status import ServerStatus
from orm.web.asgi import App, Receive, Scope, Send, path_in, send_json

__all__ = ["health", "server_report"]


def health(database: Database, *, needs_primary: bool = True) -> App:
    """An application to mount, as in ``app.mount("/health", health(db))``. It asks no server.

    ``/live`` answers as long as the event loop turns. ``/ready`` is 200 while the database can be
    worked with, else 503, and says of each server what `orm.ServerStatus` says: its ``role``,
    ``timeline``, ``place`` and ``position``, how many ``unit`` (commits, bytes) it is ``behind``,
    how many ``seconds_behind`` at most, how many ``seconds_since_probe``, why it is ``unused``, if
    it is, and whether it was ``promoted`` without being the primary.

    Args:
        database: whose servers it reports.
        needs_primary: whether it is ready only if the primary answers. Else any server will do,
            for an application that mostly reads.

    Raises:
        ConfigurationError: there is no Database.
    """
    instance("database", database, Database, "a Database")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = path_in(scope)
        if path == "/live":
            await send_json(send, 200, {"status": "alive"})
        elif path == "/ready":
            ready, content = _readiness(database, needs_primary)
            await send_json(send, 200 if ready else 503, content)
        else:
            await send_json(send, 404, {"detail": "here are only /live and /ready"})

    return app


def _readiness(database: Database, needs_primary: bool) -> tuple[bool, dict[str, Any]]:
    try:
        servers = database.last_status()
    except DatabaseClosed as error:
        return False, {"status": "not ready", "reason": str(error), "servers": []}
    needed = servers[:1] if needs_primary else servers
    ready = any(server.error is None for server in needed)
    return ready, {
        "status": "ready" if ready else "not ready",
        "servers": [server_report(server) for server in servers],
    }


def server_report(server: ServerStatus) -> dict[str, Any]:
    """What is known of a server, for JSON. No address: clients of `health` need not know it."""
    return {
        "name": server.name,
        "role": server.role,
        "promoted": server.promoted,
        "timeline": server.timeline,
        "place": server.place,
        "position": None if server.at is None else _number(server.at, server.timeline),
        "behind": server.behind,
        "unit": server.unit,
        "seconds_behind": None if server.seconds is None else round(server.seconds, 3),
        "seconds_since_probe": None if server.age is None else round(server.age, 3),
        "unused": server.error,
    }


def _number(at: Bookmark, timeline: int | None) -> int:
    """How far a position is, in its timeline if the engine has any."""
    of = dict(at.position)
    return sum(of.values()) if timeline is None else of[str(timeline)]
