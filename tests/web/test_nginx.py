"""A browser behind nginx with its defaults: parallel requests while others write."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from sqlalchemy import select

from models import User
from orm import Database
from orm.web import BookmarkCookie, BookmarkMiddleware, RequestBookmarks
from tests.harness.ports import reserved_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]

CONFIGURATION = """\
{user}
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""
PARALLEL = 100


@pytest.fixture
async def nginx(tmp_path: Path) -> AsyncIterator[tuple[str, socket.socket]]:
    """Nginx's address, and the socket of the server that it is in front of."""
    with socket.create_server(("127.0.0.1", 0)) as behind, reserved_port() as port:
        upstream = behind.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(user=user, folder=tmp_path, port=port, upstream=upstream)
        (tmp_path / "nginx.conf").write_text(text)
        assert NGINX is not None
        process = await asyncio.create_subprocess_exec(
            NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"
        )
        try:
            yield f"http://127.0.0.1:{port}", behind
        finally:
            process.terminate()
            await process.wait()


async def until_served(http: httpx2.AsyncClient) -> None:
    while True:
        try:
            if (await http.get("/nothing")).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.02)


async def test_parallel_requests_lock_no_browser_out(
    still: Database, nginx: tuple[str, socket.socket]
) -> None:
    address, behind = nginx
    together = asyncio.Barrier(PARALLEL)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found = None
        if scope["path"] != "/nothing":
            if scope["path"] == "/parallel":
                async with still.begin() as other:  # another user writes
                    other.add(User(email=scope["query_string"].decode()))
            start = "first-primary" if scope["path"] == "/parallel" else []
            async with RequestBookmarks.of(scope).session() as session:
                session.see(start)
                found = (await session.scalars(select(User.email))).all()
            if scope["path"] == "/parallel":
                await together.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})

    middleware: Any = BookmarkMiddleware(app, still, cookie=BookmarkCookie(secure=False))
    config = uvicorn.Config(middleware, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[behind]))
    try:
        limits = httpx2.Limits(max_connections=PARALLEL)
        async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=60) as browser:
            await until_served(browser)
            requests = (browser.get(f"/parallel?{number}") for number in range(PARALLEL))
            responses = await asyncio.gather(*requests)
            assert {response.status_code for response in responses} == {200}
            for _ in range(20):
                response = await browser.get("/")
                assert response.status_code == 200
                assert len(response.json()) == PARALLEL  # and nothing is forgotten
    finally:
        server.should_exit = True
        await serving
