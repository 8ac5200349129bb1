"""What the tests of every framework have in common."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from orm import Database
from orm.testing import paused


@pytest.fixture
async def still(servers) -> AsyncIterator[Database]:
    """A database whose replicas stand still, and are not waited for."""
    patient = {"pool_timeout": 60.0}  # for as long as it takes until it is a writer's turn
    options = {"max_wait": 0, "bookmark_keys": ["a secret"], "engine_options": patient}
    async with servers.migrated(**options) as db, paused(db):
        yield db


@pytest.fixture
def client() -> Any:
    """Makes a client of an ASGI application."""

    def make(app: Any, **options: Any) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, **options)
        return httpx2.AsyncClient(transport=transport, base_url="https://app.test")

    return make


@pytest.fixture
def socket() -> Any:
    """Opens a web socket to an ASGI application: functions that send text, and receive JSON."""

    @asynccontextmanager
    async def connect(app: Any, path: str) -> AsyncIterator[Any]:
        to_app: asyncio.Queue[Any] = asyncio.Queue()
        from_app: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
        task = asyncio.create_task(app(scope, to_app.get, from_app.put))

        async def send(text: str) -> None:
            await to_app.put({"type": "websocket.receive", "text": text})

        async def receive() -> Any:
            return json.loads((await from_app.get())["text"])

        await to_app.put({"type": "websocket.connect"})
        assert (await from_app.get())["type"] == "websocket.accept"
        yield send, receive
        await to_app.put({"type": "websocket.disconnect", "code": 1000})
        await task

    return connect
