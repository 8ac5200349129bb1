"""Health and the status page, as orchestrators and browsers ask for them."""

import asyncio
import json
import os
import socket
from time import monotonic
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, asgi
from sqlalchemy import select
from starlette.applications import Starlette

from models import User
from orm import Database
from orm.testing import caught_up, replicas
from orm.web import health, status_page

# Health --------------------------------------------------------------------------------------


async def test_readiness_tells_of_every_server(db: Database, client) -> None:
    one, two = replicas(db)
    await two.pause()
    async with db.begin() as session:
        session.add(User(email="ada"))
    await one.caught_up()
    began = monotonic()
    await db.status()
    async with client(health(db)) as http:
        assert (await http.get("/live")).json() == {"status": "alive"}
        ready = await http.get("/ready")
    assert ready.status_code == 200
    primary, first, second = ready.json()["servers"]
    assert [primary["role"], first["role"]] == ["primary", "replica"]
    assert [primary["behind"], first["behind"], second["behind"]] == [0, 0, 1]
    assert second["position"] == primary["position"] - 1
    assert primary["place"] == f"commit {primary['position']}"
    assert "host" not in primary
    assert primary["seconds_behind"] is None and first["seconds_behind"] == 0
    assert second["seconds_behind"] > 0
    assert 0 <= second["seconds_since_probe"] <= monotonic() - began
    assert primary["unused"] is first["unused"] is second["unused"] is None
    assert "sqlite" not in ready.text  # where the servers are is not told


async def test_a_replica_that_cannot_serve_is_told_and_no_reason_to_stop(
    db: Database, client
) -> None:
    db.cluster.replicas[0].fail(OSError("of the disk"))
    async with client(health(db)) as http:
        ready = await http.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["servers"][1]["unused"] == "of the disk"


async def test_without_its_primary_it_is_not_ready(db: Database, client) -> None:
    db.cluster.primary.fail(OSError("of the disk"))
    async with client(health(db)) as http:
        answer = await http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    async with client(health(db, needs_primary=False)) as http:
        assert (await http.get("/ready")).status_code == 200
        assert (await http.get("/else")).status_code == 404


async def test_readiness_before_and_after(servers, client) -> None:
    db = servers.database()
    async with client(health(db)) as http:
        before = await http.get("/ready")
        async with db:
            pass
        after = await http.get("/ready")
        assert (await http.get("/live")).status_code == 200
    assert before.status_code == after.status_code == 503
    assert "not started" in before.json()["reason"]
    assert "closed" in after.json()["reason"]


@pytest.mark.parametrize("kind", ["fastapi", "starlette", "litestar"])
async def test_it_mounts_anywhere(db: Database, client, kind: str) -> None:
    app: Any
    if kind == "litestar":
        mount: Any = asgi("/health", is_mount=True, copy_scope=True)(health(db))
        app = Litestar([mount], logging_config=None)
    else:
        app = FastAPI() if kind == "fastapi" else Starlette()
        app.mount("/health", health(db))
    async with client(app) as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200
    if kind != "litestar":  # which leaves the proxy's path to others
        async with client(app, root_path="/behind/a/proxy") as http:
            assert (await http.get("/behind/a/proxy/health/live")).status_code == 200


# The status page -----------------------------------------------------------------------------


async def test_the_page_is_in_one_piece(db: Database, client) -> None:
    async with client(status_page(db)) as http:
        page = await http.get("/")
        assert (await http.post("/")).status_code == 405
        assert (await http.get("/app.db")).status_code == 404
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "{style}" not in page.text
    assert "{script}" not in page.text
    assert "//" not in page.text.replace("// ", "")  # nothing from elsewhere
    assert "'sha256-" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/events", "/else"])
async def test_the_guard_is_asked_for_everything(db: Database, client, path: str) -> None:
    async def is_admin(scope: Any) -> bool:
        return (b"x-admin", b"yes") in scope["headers"]

    async with client(status_page(db, guard=is_admin)) as http:
        assert (await http.get(path)).status_code == 403
        if path != "/events":
            assert (await http.get(path, headers={"x-admin": "yes"})).status_code != 403


class Viewer:
    """A browser that looks at the events of a page."""

    def __init__(self, app: Any) -> None:
        self.leave = asyncio.Event()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "http", "method": "GET", "path": "/events", "headers": []}
        self.task = asyncio.create_task(app(scope, self._receive, self._sent.put))

    async def _receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def message(self) -> Any:
        return await asyncio.wait_for(self._sent.get(), 60)

    async def event(self) -> Any:
        return json.loads((await self.message())["body"].removeprefix(b"data: "))


async def test_events_tell_positions_and_routes_as_they_happen(db: Database) -> None:
    viewer = Viewer(status_page(db))
    start = await viewer.message()
    assert (b"content-type", b"text/event-stream") in start["headers"]
    first = await viewer.event()
    assert [server["name"] for server in first["servers"]] == ["primary", "replica-1", "replica-2"]
    assert first["routes"] == []
    assert first["process"] == {"id": os.getpid(), "host": socket.gethostname()}
    assert {server["host"] for server in first["servers"]} == {None}

    async with db.begin() as session:
        session.add(User(email="ada"))
    await caught_up(db)
    async with db.session() as session:
        await session.scalars(select(User.email))
    routes: list[Any] = []
    while len(routes) < 2:
        event = await viewer.event()
        routes += event["routes"]
    assert [route["why"] for route in routes] == ["may_write", "unlinked"]
    assert event["servers"][0]["position"] == first["servers"][0]["position"] + 1

    assert db.rules.observers
    viewer.leave.set()
    await viewer.task
    assert not db.rules.observers


async def test_events_end_with_the_database(servers) -> None:
    async with servers.migrated() as db:
        viewer = Viewer(status_page(db))
        await viewer.message()
        await viewer.event()
    while (message := await viewer.message()).get("more_body"):
        pass
    assert message["body"] == b""
    await viewer.task
