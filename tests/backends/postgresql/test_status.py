"""How far standbys are behind, as people and programs are told."""

import asyncio
import json
import re

import pytest
from click.testing import CliRunner, Result

from orm import Bookmark, Database
from orm.backends.postgresql import PostgreSQLBackend
from orm.cli import main
from tests.backends.postgresql.test_positions import add
from tests.conftest import PostgreSQL

SERVERS = pytest.mark.parametrize("servers", ["asyncpg", "psycopg"], indirect=True)


async def status(servers: PostgreSQL, primary: str, *replicas: str, json: bool = False) -> Result:
    arguments = ["status", "--remote", *(a for url in replicas for a in ("--replica", url))]
    if json:
        arguments.append("--json")
    run = CliRunner(env={"ORM_REMOTE_URL": primary}).invoke
    return await asyncio.to_thread(run, main, arguments)


def flushed(servers: PostgreSQL) -> str:
    [lsn] = servers.cluster.primary.sql("SELECT pg_current_wal_flush_lsn()")
    return lsn


@SERVERS
async def test_a_standby_that_stands_still(servers: PostgreSQL) -> None:
    one, two = servers.cluster.standbys
    async with servers.migrated() as db:
        await add(db, "a")
        servers.cluster.caught_up()
        one.pause()
        try:
            await add(db, "b")
            lsn = ""
            while lsn != flushed(servers):  # the server writes to its log by itself, too
                lsn = flushed(servers)
                two.caught_up(servers.cluster.primary)
                shown = await status(servers, servers.url, *servers.replica_urls)
                answered = await status(servers, servers.url, *servers.replica_urls, json=True)
        finally:
            one.resume()
    primary, late, level = json.loads(answered.output)
    assert [primary["role"], late["role"], level["role"]] == ["primary", "replica", "replica"]
    assert late["behind"] > 0 and late["unit"] == "bytes" and late["seconds"] > 0
    assert level["behind"] == 0 and level["seconds"] == 0.0
    assert primary["seconds"] is None
    assert re.search(r" (bytes|kB) behind, [0-9.]+ s at most ", shown.output.splitlines()[1])
    assert "up to date" in shown.output.splitlines()[2]
    assert all("on timeline 1  postgresql+" in line for line in shown.output.splitlines())
    assert primary["place"] == f"{lsn} on timeline 1" and primary["timeline"] == 1
    assert primary["host"] == f"127.0.0.1:{servers.cluster.primary.port}"


@SERVERS
async def test_roles_are_what_servers_say(servers: PostgreSQL) -> None:
    servers.cluster.caught_up()
    answered = await status(servers, servers.replica_urls[0], servers.url, json=True)
    assert [(server["url"], server["role"]) for server in json.loads(answered.output)] == [
        (servers.url, "primary"),
        (servers.replica_urls[0], "replica"),
    ]


@SERVERS
async def test_it_is_in_the_status_of_a_database_too(servers: PostgreSQL) -> None:
    async with Database(servers.url, replicas=servers.replica_urls) as db:
        servers.cluster.caught_up()
        primary, *standbys = await db.status()
        assert primary.unit == "bytes" and primary.seconds is None
        assert all(standby.seconds is not None for standby in standbys)


def test_how_far_one_is_behind() -> None:
    behind = PostgreSQLBackend().behind
    head = Bookmark("h", (("1", 50), ("2", 70)))
    assert behind(Bookmark("h", (("1", 40),)), head) == 30  # positions go on in a new timeline
    assert behind(Bookmark("h", (("1", 50), ("2", 80))), head) == 0  # it has answered later
    assert behind(Bookmark("h", (("forged", 80),)), head) == 70
    assert behind(Bookmark("another", (("1", 40),)), head) is None
