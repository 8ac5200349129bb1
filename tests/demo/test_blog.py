"""The demo's blog, as its page calls it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import URL

from orm.demo.blog import application, database
from tests.harness.attempts import attempts

POST = {"author": 1, "title": "Second thoughts"}
STILL = {"lag": 0, "state": "paused"}
RUNNING = {"lag": 0, "state": "running"}
KILLED = {"lag": 0, "state": "killed"}


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    app = application(database(URL.create("sqlite+aiosqlite", database=str(tmp_path / "app.db"))))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://demo.test") as client:
            yield client


async def settle(http: httpx2.AsyncClient, *settings: Any) -> None:
    for number, setting in enumerate(settings, start=1):
        assert (await http.put(f"/replicas/replica-{number}", json=setting)).status_code == 204


async def look(http: httpx2.AsyncClient, **headers: str) -> tuple[bool, str]:
    """Whether the post is there, and who says so."""
    listing = (await http.get("/posts", headers=headers)).json()
    titles = [post["title"] for post in listing["posts"]]
    return POST["title"] in titles, listing["served"]["server"]


async def test_a_post_goes_missing_and_a_bookmark_finds_it(http: httpx2.AsyncClient) -> None:
    await settle(http, STILL, STILL)
    written = await http.post("/posts", json=POST)
    assert written.json()["served"]["server"] == "primary"
    token = written.headers["x-bookmark"]
    found, server = await look(http)
    assert not found
    assert server.startswith("replica")
    assert await look(http, **{"x-bookmark": token}) == (True, "primary")


async def test_a_read_waits_for_the_replica_that_lags_a_little(http: httpx2.AsyncClient) -> None:
    await settle(http, {"lag": 0.1}, STILL)
    for _ in attempts("a read that waited for a replica"):
        token = (await http.post("/posts", json=POST)).headers["x-bookmark"]
        found, server = await look(http, **{"x-bookmark": token})
        assert found
        if server == "replica-1":
            break
        assert server == "primary"


async def test_a_killed_replica_serves_no_session_until_it_is_revived(
    http: httpx2.AsyncClient,
) -> None:
    await settle(http, KILLED, STILL)
    assert {(await look(http))[1] for _ in range(4)} == {"replica-2"}
    servers = (await http.get("/health/ready")).json()["servers"]
    assert [server["unused"] is None for server in servers] == [True, False, True]
    await settle(http, RUNNING, KILLED)
    assert {(await look(http))[1] for _ in range(4)} == {"replica-1"}
    await settle(http, KILLED, KILLED)
    assert (await look(http))[1] == "primary"
    await settle(http, STILL, RUNNING)  # from one state to another, past running
    missing = {"replica-1", "replica-2"}
    async with asyncio.timeout(60):
        while missing:  # the one that was slower has less of the reads
            missing -= {(await look(http))[1]}


async def test_the_neighbour_writes_while_it_is_wanted(http: httpx2.AsyncClient) -> None:
    async def position() -> int:
        servers = (await http.get("/health/ready")).json()["servers"]
        return int(servers[0]["position"])

    before = await position()
    await http.put("/neighbour", json={"busy": True})
    async with asyncio.timeout(60):
        while await position() < before + 2:
            await http.get("/posts")
    await http.put("/neighbour", json={"busy": False})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/posts", {"author": 99, "title": "x"}, 404),
        ("POST", "/posts", {"author": 2**80, "title": "x"}, 422),
        ("POST", "/posts", {"author": 1, "title": ""}, 422),
        ("PUT", "/replicas/primary", RUNNING, 404),
        ("PUT", "/replicas/replica-1", {"lag": 6}, 422),
        ("PUT", "/replicas/replica-1", {"lag": 1, "state": "upside down"}, 422),
    ],
)
async def test_what_cannot_be_is_refused(
    http: httpx2.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    assert (await http.request(method, path, json=body)).status_code == status
