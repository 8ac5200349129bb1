"""What happens in a database, as server-sent events. Nothing runs without a client."""

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from time import time
from typing import Any, Final

from orm.database import Database
from orm.exceptions import DatabaseClosed
from orm.routing import Route
from orm.web.asgi import Receive, Send, until_disconnected
from orm.web.health import server_report

__all__ = ["send_live"]

_TICK: Final = 0.2  # seconds between two events
_MOST_ROUTES: Final = 50  # in one event: the latest ones

More = Callable[[], Mapping[str, Any]]


async def send_live(database: Database, receive: Receive, send: Send, more: More = dict) -> None:
    """Answer a request with what happens, until the client goes or the database closes.

    Meanwhile all servers are asked once a second, also those that no session uses.

    Each event is JSON: ``servers``, as `orm.web.health` has them, and their ``host``; ``routes``,
    where transactions went since the event before; ``process``, which one of several workers tells
    it.

    Args:
        database: whose servers and routes are sent.
        receive: of the request.
        send: of the request.
        more: what else is in each event.
    """
    head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    leaving = asyncio.create_task(until_disconnected(receive))
    try:
        async for event in _events(database, more, leaving):
            body = f"data: {json.dumps(event)}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if not leaving.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        await asyncio.wait([leaving])


async def _events(
    database: Database, more: More, leaving: asyncio.Task[None]
) -> AsyncIterator[dict[str, Any]]:
    routes: deque[dict[str, Any]] = deque(maxlen=_MOST_ROUTES)
    process = {"id": os.getpid(), "host": socket.gethostname()}
    clock, cluster = asyncio.get_running_loop().time, database.cluster
    stop = database.observe(lambda route: routes.append(_route(route)))
    try:
        while not leaving.done():
            try:
                servers = database.last_status()
            except DatabaseClosed:
                return
            for server in (cluster.primary, *cluster.replicas):
                server.use(clock())  # a lag that was told ten seconds ago is none to look at
            reports = [{**server_report(server), "host": server.host} for server in servers]
            told = list(routes)
            routes.clear()
            yield {"servers": reports, "routes": told, "process": process, **more()}
            await asyncio.wait([leaving], timeout=_TICK)
    finally:
        stop()


def _route(route: Route) -> dict[str, Any]:
    return {
        "time": time(),
        "server": route.server,
        "role": route.role,
        "waited": route.waited,
        "why": route.reason.name.lower(),
        "reason": str(route.reason),
    }
