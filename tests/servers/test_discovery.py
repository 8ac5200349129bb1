"""Replicas that are looked up: in Patroni, by DNS, or by a function of the user's."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.patroni import members
from orm import Database, Replica, by_dns
from orm.exceptions import ConfigurationError
from orm.testing.listener import Listener
from orm.testing.postgresql import Cluster

URL = "postgresql+asyncpg://app@db/app"


class Patroni:
    """A stand-in of its REST API: what it says is set."""

    def __init__(self) -> None:
        self.members: list[dict[str, Any]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /cluster ")
        body = json.dumps({"members": self.members, "scope": "app"}).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def patroni() -> AsyncIterator[Patroni]:
    stand_in = Patroni()
    async with Listener(stand_in.answer) as listener:
        stand_in.url = f"http://127.0.0.1:{listener.port}"
        yield stand_in


def member(name: str, role: str, state: str, port: int = 5432, **tags: str) -> dict[str, Any]:
    return {
        "name": name, "role": role, "state": state, "host": "127.0.0.1", "port": port, "tags": tags
    }  # fmt: skip


async def test_patroni_s_replicas_that_stream_are_found(patroni: Patroni) -> None:
    patroni.members = [
        member("a", "leader", "running"),
        member("b", "replica", "streaming", 5433, zone="eu"),
        member("c", "sync_standby", "streaming", 5434),
        member("d", "replica", "starting"),
    ]
    found = await members(patroni.url, URL)()
    assert [(one.name, one.zone, one.url.host, one.url.port) for one in found] == [
        ("b", "eu", "127.0.0.1", 5433),
        ("c", None, "127.0.0.1", 5434),
    ]


async def test_what_patroni_names_is_read_from(
    patroni: Patroni, postgresql_cluster: Cluster
) -> None:
    primary, one, _ = postgresql_cluster.servers
    patroni.members = [
        member("a", "leader", "running", primary.port),
        member("b", "replica", "streaming", one.port),
    ]
    replicas = members(patroni.url, primary.url())
    async with Database(primary.url(), replicas=replicas) as db:
        status = await db.status()
        assert [(server.name, server.role, server.error) for server in status] == [
            (f"127.0.0.1:{primary.port}", "primary", None),
            ("b", "replica", None),
        ]


async def test_a_name_stands_for_all_its_addresses() -> None:
    found = await by_dns("postgresql+asyncpg://app@localhost:5433/app")()
    addresses = {one.url.host for one in found if isinstance(one, Replica)}  # type: ignore[union-attr]
    assert "127.0.0.1" in addresses
    assert all(isinstance(one, Replica) and one.url.port == 5433 for one in found)  # type: ignore[union-attr]


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:///app.db", "postgresql+asyncpg:///app", ""])
def test_no_host_to_look_up(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"by_dns looks up|not a database URL"):
        by_dns(url)


async def test_a_function_that_is_not_asynchronous_is_refused_at_the_start(tmp_path: Path) -> None:
    asked: Any = list
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/app.db", replicas=asked)
    with pytest.raises(ConfigurationError, match="asynchronous function, and <class 'list'>"):
        await database.start()
