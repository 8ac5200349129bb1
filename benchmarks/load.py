"""Many clients of one small web application: `python -m benchmarks.load`.

First in turns with the same application on plain SQLAlchemy and the primary alone, without a fault.
Then a replica is killed under load. Each client raises a counter of its own and reads it back, with
the bookmark that it was handed. It must never see less than it has seen; no answer may be an error,
and no connection may stay out.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import httpx2
from fastapi import Depends, FastAPI
from sqlalchemy import Column, Integer, MetaData, Table, event, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import QueuePool

from benchmarks.data import scratch_space
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
        return await session.scalar(_raised(client))

    @app.get("/counters/{client}")
    async def read(client: int, session: RequestSession) -> list[Any]:
        value = await session.scalar(_value(client))
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

    app.get("/cpu")(_cpu)
    return app


def plain_application() -> FastAPI:
    """The same on plain SQLAlchemy, as its documentation has it, and the primary alone."""
    engine = _plain_engine(json.loads(os.environ[_SERVERS])[0])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    async def new_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session
            await session.commit()

    app = FastAPI(lifespan=lifespan)
    session_of_request = Depends(new_session, scope="function")

    @app.post("/counters/{client}")
    async def count(client: int, session: AsyncSession = session_of_request) -> Any:
        return await session.scalar(_raised(client))

    @app.get("/counters/{client}")
    async def read(client: int, session: AsyncSession = session_of_request) -> list[Any]:
        return [await session.scalar(_value(client)), "primary"]

    @app.get("/connections")
    async def connections() -> int:
        pool = engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    app.get("/cpu")(_cpu)
    return app


async def _cpu() -> float:
    return process_time()


def _plain_engine(url: str) -> AsyncEngine:
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":  # and patience: else some requests fail, after 5 s

        def set_up(connection: Any, _: object) -> None:
            pragmas = "PRAGMA busy_timeout = 60000; PRAGMA synchronous = NORMAL"
            connection.run_async(lambda driver: driver.executescript(pragmas))

        event.listen(engine.sync_engine, "connect", set_up)
    return engine


def _raised(client: int) -> Any:
    raised = update(_COUNTERS).where(_COUNTERS.c.id == client).values(value=_COUNTERS.c.value + 1)
    return raised.returning(_COUNTERS.c.value)


def _value(client: int) -> Any:
    return select(_COUNTERS.c.value).where(_COUNTERS.c.id == client)


@dataclass
class Seen:
    """What the clients have seen."""

    took: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stale: list[tuple[int, int, int]] = field(default_factory=list)
    reads: Counter[str] = field(default_factory=Counter)
    """By the role of the server."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of a processor that the application took."""
    left: int = 0
    """Connections that are still out at the end."""

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return len(self.took) / self.seconds

    def quantile(self, percent: int) -> float:
        """Milliseconds within which so many of the requests are answered."""
        return statistics.quantiles(self.took, n=100)[percent - 1] * 1000

    def __str__(self) -> str:
        return (
            f"{self.throughput:.0f} requests a second, 50 % within {self.quantile(50):.0f} ms, "
            f"99 % within {self.quantile(99):.0f} ms, the longest {max(self.took):.1f} s; "
            f"{self.cpu / len(self.took) * 1000:.1f} ms of a processor for each; "
            f"{self.reads['replica']} reads from replicas, {self.reads['primary']} from the "
            f"primary; {len(self.stale)} stale reads, {len(self.errors)} errors, {self.left} "
            "connections still out"
        )


async def client(http: httpx2.AsyncClient, number: int, end: float, seen: Seen) -> None:
    """One chain of requests, each with the bookmark of the one before."""
    known, headers = -1, dict[str, str]()
    while perf_counter() < end:
        for method in ("POST", "GET", "GET"):
            began = perf_counter()
            answer = await http.request(method, f"/counters/{number}", headers=headers)
            seen.took.append(perf_counter() - began)
            if answer.status_code != 200:
                seen.errors.append(f"{answer.status_code} {answer.text[:200]}")
                continue
            headers = {k: v for k, v in answer.headers.items() if k == "x-bookmark"}
            value, role = answer.json() if method == "GET" else (answer.json(), "primary")
            if value < known or (method == "POST" and known >= 0 and value != known + 1):
                seen.stale.append((number, known, value))
            if method == "GET":
                seen.reads[role] += 1
            known = value


async def load(url: str, clients: int, seconds: float, trouble: Trouble | None = None) -> Seen:
    """Drive an application, with trouble meanwhile."""
    seen = Seen()
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=120) as http:
        began, cpu = perf_counter(), (await http.get("/cpu")).json()
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(client(http, number, began + seconds, seen))
            if trouble is not None:
                await trouble()
        seen.seconds = perf_counter() - began
        seen.cpu = (await http.get("/cpu")).json() - cpu
        seen.left = (await http.get("/connections")).json()
    return seen


async def main(postgresql: bool, clients: int, seconds: float, rounds: int) -> None:
    """Start servers and applications, and load them."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster()) if postgresql else None
        if cluster is not None:
            urls = [server.url() for server in cluster.servers]
            other = [cluster.primary.url(database=cluster.create_database())]
        else:
            folder = stack.enter_context(TemporaryDirectory(dir=scratch_space()))
            urls = [f"sqlite+aiosqlite:///{folder}/app.db"]
            other = [f"sqlite+aiosqlite:///{folder}/plain.db"]
        for database in (urls, other):
            async with Database(database[0]) as db, db.connect() as connection:
                await connection.run_sync(_METADATA.create_all)
                rows = [{"id": number, "value": 0} for number in range(clients)]
                await connection.execute(insert(_COUNTERS), rows)
                await connection.commit()
        ours = await stack.enter_async_context(_served("application", urls))
        plain = await stack.enter_async_context(_served("plain_application", other))
        pairs = []
        for _ in range(rounds):
            pair = [await load(url, clients, seconds) for url in (plain, ours)]
            pairs.append(pair)
            for name, seen in zip(("plain", "ours"), pair, strict=True):
                print(f"{name:7}{seen}", flush=True)
        if pairs:
            throughput = statistics.median(b.throughput / a.throughput for a, b in pairs)
            p99 = statistics.median(b.quantile(99) / a.quantile(99) for a, b in pairs)
            print(f"ours / plain: {throughput:.2f} of the throughput, {p99:.2f} of the p99")

        kill: Trouble = partial(_post, f"{ours}/replicas/2/kill")
        revive: Trouble = partial(_post, f"{ours}/replicas/2/revive")
        if cluster is not None:
            kill = partial(asyncio.to_thread, cluster.standbys[1].kill)
            revive = partial(asyncio.to_thread, cluster.standbys[1].start)

        async def trouble() -> None:
            await asyncio.sleep(seconds / 3)
            await kill()
            await asyncio.sleep(seconds / 3)
            await revive()

        seen = await load(ours, clients, seconds, trouble)
        print(f"A replica is killed: {seen}")
        all_of_ours = [seen, *(pair[1] for pair in pairs)]
        for one in all_of_ours:
            if one.stale or one.errors or one.left:
                sys.exit(f"{one.stale[:5]} {one.errors[:5]}")


@asynccontextmanager
async def _served(factory: str, urls: list[str]) -> AsyncIterator[str]:
    """An application, and where it is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", f"benchmarks.load:{factory}"),
        *("--port", str(port), "--log-level", "error"),
        env=os.environ | {_SERVERS: json.dumps(urls)},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _started(url)
        yield url
    finally:
        server.terminate()
        await server.wait()


async def _post(url: str) -> None:
    async with httpx2.AsyncClient(timeout=60) as http:
        (await http.post(url)).raise_for_status()


async def _started(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as http, asyncio.timeout(60):
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
    parser.add_argument("--seconds", type=float, default=30, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="of plain and ours in turn")
    options = parser.parse_args()
    asyncio.run(main(options.postgresql, options.clients, options.seconds, options.rounds))
