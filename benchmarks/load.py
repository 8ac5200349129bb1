"""Many clients, and a replica that is killed meanwhile: `python -m benchmarks.load`.

Each client raises a counter of its own and reads it back, with the bookmark that it was handed. It
must never see less than it has seen; no answer may be an error, and no connection may stay out.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import httpx2
from fastapi import FastAPI
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, update
from sqlalchemy.pool import QueuePool

from orm import Database
from orm.testing import replicas
from orm.testing.postgresql import Cluster
from orm.web import BookmarkMiddleware
from orm.web.fastapi import RequestSession

_SERVERS = "BENCHMARK_SERVERS"
_METADATA = MetaData()
_COUNTERS = Table(
    "counters", _METADATA, Column("id", Integer, primary_key=True), Column("value", Integer)
)

Trouble = Callable[[], Awaitable[None]]


def application() -> FastAPI:
    """What is under load; its servers are named by the environment."""
    primary, *others = json.loads(os.environ[_SERVERS])
    db = Database(primary, replicas=others or 2)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with db:
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(BookmarkMiddleware, database=db)

    @app.post("/counters/{client}")
    async def count(client: int, session: RequestSession) -> Any:
        raised = (
            update(_COUNTERS).where(_COUNTERS.c.id == client).values(value=_COUNTERS.c.value + 1)
        )
        return await session.scalar(raised.returning(_COUNTERS.c.value))

    @app.get("/counters/{client}")
    async def read(client: int, session: RequestSession) -> list[Any]:
        value = await session.scalar(select(_COUNTERS.c.value).where(_COUNTERS.c.id == client))
        route = session.last_route
        return [value, route.role if route else None]

    @app.post("/replicas/2/{verb}")
    async def trouble(verb: str) -> None:
        control = replicas(db)[1]
        await (control.kill() if verb == "kill" else control.revive())

    @app.get("/connections")
    async def connections() -> int:
        cluster = db.cluster
        servers = (cluster.primary, *cluster.replicas)
        pools = [engine.pool for engine in (cluster.writer, *(server.engine for server in servers))]
        return sum(pool.checkedout() for pool in pools if isinstance(pool, QueuePool))

    return app


async def client(http: httpx2.AsyncClient, number: int, end: float, seen: dict[str, Any]) -> None:
    """One chain of requests, each with the bookmark of the one before."""
    known, headers = 0, dict[str, str]()
    while perf_counter() < end:
        for method in ("POST", "GET", "GET"):
            began = perf_counter()
            answer = await http.request(method, f"/counters/{number}", headers=headers)
            seen["seconds"].append(perf_counter() - began)
            if answer.status_code != 200:
                seen["errors"].append(f"{answer.status_code} {answer.text[:200]}")
                continue
            headers = {"x-bookmark": answer.headers["x-bookmark"]}
            value, role = answer.json() if method == "GET" else (answer.json(), "primary")
            if value < known or (method == "POST" and value != known + 1):
                seen["stale"].append((number, known, value))
            if method == "GET":
                seen[role] += 1
            known = value


async def load(url: str, clients: int, seconds: float, kill: Trouble, revive: Trouble) -> None:
    """Drive the application, and print what came of it."""
    seen: dict[str, Any] = {"seconds": [], "errors": [], "stale": [], "primary": 0, "replica": 0}
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
        end = perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(client(http, number, end, seen))
            await asyncio.sleep(seconds / 3)
            await kill()
            await asyncio.sleep(seconds / 3)
            await revive()
        left = (await http.get("/connections")).json()
    times = statistics.quantiles(seen["seconds"], n=100)
    print(
        f"{clients} clients, {len(seen['seconds'])} requests, "
        f"{len(seen['seconds']) / seconds:.0f} a second; 50 % within {times[49] * 1000:.0f} ms, "
        f"99 % within {times[98] * 1000:.0f} ms; {seen['replica']} reads from replicas, "
        f"{seen['primary']} from the primary; {len(seen['stale'])} stale reads, "
        f"{len(seen['errors'])} errors, {left} connections still out"
    )
    if seen["stale"] or seen["errors"] or left:
        sys.exit(f"{seen['stale'][:5]} {seen['errors'][:5]}")


async def main(postgresql: bool, clients: int, seconds: float) -> None:
    """Start servers and application, and load them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        kill: Trouble = partial(_post, f"{url}/replicas/2/kill")
        revive: Trouble = partial(_post, f"{url}/replicas/2/revive")
        if postgresql:
            cluster = stack.enter_context(Cluster())
            urls = [server.url() for server in cluster.servers]
            kill = partial(asyncio.to_thread, cluster.standbys[1].kill)
            revive = partial(asyncio.to_thread, cluster.standbys[1].start)
        else:
            folder = stack.enter_context(TemporaryDirectory())
            urls = [f"sqlite+aiosqlite:///{folder}/app.db"]
        async with Database(urls[0]) as db, db.connect() as connection:
            await connection.run_sync(_METADATA.create_all)
            rows = [{"id": number, "value": 0} for number in range(clients)]
            await connection.execute(insert(_COUNTERS), rows)
            await connection.commit()
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "--factory", "benchmarks.load:application"),
            *("--port", str(port), "--log-level", "error"),
            env=os.environ | {_SERVERS: json.dumps(urls)},
        )
        try:
            await _started(url)
            await load(url, clients, seconds, kill, revive)
        finally:
            server.terminate()
            await server.wait()


async def _post(url: str) -> None:
    async with httpx2.AsyncClient(timeout=60) as http:
        (await http.post(url)).raise_for_status()


async def _started(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as http, asyncio.timeout(20):
        while True:
            try:
                await http.get("/connections")
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on real standbys")
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    asyncio.run(main(options.postgresql, options.clients, options.seconds))
