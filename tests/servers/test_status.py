"""What `orm status` and `orm verify` say when servers are gone, or two of them take writes."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models import User
from orm import Database
from orm.cli import main
from orm.testing import caught_up, postgresql, replicas
from tests.conftest import SQLite, started


class Operator:
    """A person at a terminal, who knows the servers as they once were."""

    def __init__(self, cluster: Any, driver: str) -> None:
        self.cluster = cluster
        self._url: Callable[[Any], str] = lambda server: server.url(driver)

    def call(self, *arguments: str) -> Result:
        primary, *replicas = map(self._url, self.cluster.servers)
        named = {"ORM_REMOTE_URL": primary, "ORM_REMOTE_REPLICAS": " ".join(replicas)}
        return CliRunner(env=named).invoke(main, [*arguments], prog_name="orm")

    def status(self) -> tuple[int, list[dict[str, Any]], str]:
        answered = self.call("status", "--remote", "--json")
        shown = self.call("status", "--remote")
        assert answered.exit_code == shown.exit_code
        return shown.exit_code, json.loads(answered.output), shown.output

    def write(self, *servers: Any) -> None:
        async def write() -> None:
            primary, *replicas = map(self._url, servers)
            async with Database(primary, replicas=replicas) as db, db.begin() as session:
                await (await session.connection()).run_sync(User.metadata.create_all)

        asyncio.run(write())


@pytest.fixture(params=["psycopg", "mariadb-asyncmy", "mysql-aiomysql"])
def operator(request: pytest.FixtureRequest) -> Iterator[Operator]:
    flavour, _, driver = request.param.rpartition("-")
    with ExitStack() as stack:
        cluster: Any
        if flavour:
            cluster = stack.enter_context(started(flavour))
            name = cluster.create_database()
            for server in cluster.servers:
                server.database = name
        else:
            cluster = stack.enter_context(postgresql.Cluster())
        yield Operator(cluster, driver)


@pytest.mark.slow
def test_from_a_dead_primary_to_two(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    cluster = operator.cluster
    old, new, other = cluster.servers
    operator.write(old)
    cluster.caught_up()
    code, servers, shown = operator.status()
    assert code == 0, shown
    names = [s["name"] for s in servers]
    assert names == [s["host"] for s in servers]
    assert {s["timeline"] for s in servers} == {1}
    assert [s["host"] for s in servers] == [f"127.0.0.1:{s.port}" for s in cluster.servers]

    other.partition()
    old.sql("CREATE TABLE more (id integer)", database=old.database)
    new.caught_up(old)
    old.kill()
    code, servers, shown = operator.status()
    assert code == 1
    assert servers[0]["error"] and servers[0]["at"] is None
    assert servers[1]["behind"] == 0 < servers[2]["behind"]  # the one to promote is known
    assert "  furthest  " in shown and " behind the furthest  " in shown
    assert "No server that answers is the primary: start it again, or promote" in shown
    unable = operator.call("verify", "--remote", "--duration", "0.1")
    assert unable.exit_code == 3
    assert "No server that answers is the primary" in unable.output
    assert "Traceback" not in unable.output and "sqlalche.me" not in unable.output

    cluster.promote(new)
    operator.status()  # which writes nothing anywhere
    operator.write(old, new, other)
    assert names[0] in caplog.text and "not asked yet" not in caplog.text
    code, servers, shown = operator.status()
    assert code == 1
    assert [(s["name"], s["timeline"]) for s in servers] == [
        (names[1], 2),
        (names[2], 1),
        (names[0], None),
    ]
    assert servers[0]["role"] == "primary" and servers[1]["behind"] > 0
    assert f"{names[1]} is the primary now: name it first, in ORM_REMOTE_URL" in shown

    old.start()
    code, servers, shown = operator.status()
    assert code == 1
    assert [s["role"] for s in servers] == ["primary", "replica", "primary"]
    assert servers[2]["error"] == f"it was the primary, and {names[1]} has replaced it"
    assert f"{names[0]} still takes writes, which will be lost: stop it, or make it follow" in shown
    unable = operator.call("verify", "--remote", "--duration", "0.1")
    assert unable.exit_code == 3
    assert f"{names[1]} is the primary now" in unable.output
    operator.write(*cluster.servers)  # a Database starts beside it
    assert f"it was the primary, and {names[1]} has replaced it" in caplog.text


@pytest.mark.parametrize("operator", ["mariadb-asyncmy", "mysql-aiomysql"], indirect=True)
def test_a_replica_that_is_promoted_too_early(operator: Operator) -> None:
    old, new, _ = operator.cluster.servers
    operator.write(old)
    operator.cluster.caught_up()
    new.promote()
    code, servers, shown = operator.status()
    assert code == 1
    assert [s["promoted"] for s in servers] == [False, True, False]
    assert "takes writes, and is not the primary" in shown
    assert (
        f"{servers[0]['name']} is the primary: make {servers[1]['name']} follow it again." in shown
    )
    assert old.sql("SELECT term FROM orm_history") == [{"term": 1}]
    assert new.sql("SELECT term FROM orm_history") == [{"term": 1}]

    old.kill()
    code, _, shown = operator.status()
    assert code == 1
    assert (
        f"{servers[1]['name']} was promoted: the next Database that asks it makes it the primary"
        in shown
    )
    assert new.sql("SELECT term FROM orm_history") == [{"term": 1}]


def test_a_database_that_is_on_no_server_promotes_none(operator: Operator) -> None:
    for server in operator.cluster.servers:
        server.database = "test_nothing"
    code, servers, shown = operator.status()
    assert code == 1
    assert all(server["error"] for server in servers)
    assert "test_nothing" in shown
    assert "promote" not in shown


async def test_a_file_that_is_gone(
    servers: SQLite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with servers.migrated() as db, db.begin() as session:
        session.add(User(email="a"))
    os.rename(tmp_path / "app.db", tmp_path / "gone.db")
    (tmp_path / "pyproject.toml").touch()
    shown = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--local"])
    assert shown.exit_code == 1
    assert "unable to open database file" in shown.output.splitlines()[1]
    assert re.search(r"furthest +commit \d+  sqlite", shown.output)
    unable = await asyncio.to_thread(CliRunner().invoke, main, ["verify", "--local"])
    assert unable.exit_code == 3
    assert "unable to open database file" in unable.output


async def test_an_exporter_in_a_thread_is_told_the_seconds(db: Database) -> None:
    _, late = replicas(db)
    await caught_up(db)
    await db.status()
    await late.pause()
    async with db.begin() as session:
        session.add(User(email="a"))
    await db.status()
    *_, status = await asyncio.to_thread(db.last_status)
    assert status.behind == 1 and status.seconds is not None


async def test_while_the_primary_is_away_lag_counts_from_what_it_last_said(db: Database) -> None:
    one, late = replicas(db)
    await caught_up(db)
    await late.pause()
    async with db.begin() as session:
        session.add(User(email="a"))
    await one.caught_up()
    await db.status()
    db.cluster.primary.fail(OSError("of the disk"))
    primary, level, late_one = db.last_status()
    assert primary.error == "of the disk"
    assert [level.behind, late_one.behind] == [0, 1]


async def test_no_lag_is_told_of_a_server_that_is_gone(postgresql_cluster: Any) -> None:
    primary, one, _ = postgresql_cluster.servers
    async with Database(primary.url(), replicas=[one.url()]) as db:
        async with db.connect() as connection:
            await connection.run_sync(User.metadata.create_all)
            await connection.commit()
        postgresql_cluster.caught_up()
        (_, before) = await db.status()
        one.kill()
        (_, after) = await db.status()
        assert before.seconds is not None
        assert after.error is not None and after.seconds is None
