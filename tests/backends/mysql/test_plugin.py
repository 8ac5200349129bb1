"""The plugin's clusters of MariaDB and MySQL, as users meet them: in a pytest of their own."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from orm.testing.clusters import Clusters
from orm.testing.mysql import Cluster, Flavour, Server
from tests.backends.runs import pytest_run, servers_of, wait_for
from tests.conftest import started

PREFIX = "orm-my-"
FLAVOURS = ("mariadb", "mysql")


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """An engine whose programs are here."""
    request.getfixturevalue(f"{request.param}_server")
    flavour: Flavour = request.param
    return flavour


@pytest.fixture(scope="module")
def mariadb_server() -> Iterator[Cluster]:
    with started("mariadb", standbys=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mysql_server() -> Iterator[Cluster]:
    with started("mysql", standbys=0) as cluster:
        yield cluster


def test_the_fixture_without_any_configuration(tmp_path: Path, flavour: Flavour) -> None:
    test = """
import pymysql, pytest
left_open = []
def test_one(X_cluster):
    primary, (one, two) = X_cluster.primary, X_cluster.standbys
    primary.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    X_cluster.caught_up()
    for server in (primary, one):  # a client that never ends its transaction
        reader = pymysql.connect(
            host="127.0.0.1", port=server.port, user="app", database=server.database
        )
        reader.cursor().execute("SELECT * FROM notes")
        left_open.append(reader)
    one.acknowledge()
    primary.await_replicas(seconds=10)
    primary.stop_writes()
    one.partition()
    two.freeze()
def test_another(X_cluster):
    X_cluster.primary.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    app = pymysql.connect(
        host="127.0.0.1", port=X_cluster.primary.port, user="app",
        database=X_cluster.primary.database, autocommit=True,
    )
    app.cursor().execute("INSERT INTO notes VALUES (1)")
    app.close()
    X_cluster.caught_up()
    assert X_cluster.standbys[1].sql("SELECT * FROM notes") == [{"id": 1}]
    X_cluster.promote(X_cluster.standbys[0])
def test_one_more(X_cluster):
    assert X_cluster.primary.name == "server1"
    assert X_cluster.primary.sql("SHOW TABLES") == []
"""
    run = pytest_run(tmp_path, test.replace("X", flavour))
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert "3 passed" in output
    assert servers_of(run.pid, PREFIX) == []


def test_nothing_is_left_of_a_killed_run(tmp_path: Path, mariadb_server: Cluster) -> None:
    test = """
from pathlib import Path
def test_one(mariadb_cluster):
    mariadb_cluster.standbys[0].freeze()
    Path("ready.part").write_text(str(mariadb_cluster.primary.folder.parent))
    Path("ready.part").rename("ready")
    import time; time.sleep(60)
"""
    run = pytest_run(tmp_path, test, "-s")
    wait_for((tmp_path / "ready").exists)
    folder = Path((tmp_path / "ready").read_text())
    assert len(servers_of(run.pid, PREFIX)) == 3
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == -signal.SIGKILL
    assert run.stdout is not None
    run.stdout.close()
    wait_for(lambda: not servers_of(run.pid, PREFIX))
    with Cluster("mariadb", standbys=0):  # the next start tidies up, if no other process did
        assert not folder.exists()


def test_a_cluster_is_the_same_until_it_cannot_be(mariadb_server: Cluster) -> None:
    clusters = Clusters(lambda: Cluster("mariadb", standbys=1))
    try:
        first = clusters.take()
        name = first.create_database()
        first.standbys[0].kill()
        clusters.give_back(first, name)
        assert clusters.take() is first
        first.primary.kill()
        shutil.rmtree(first.primary.data)
        clusters.give_back(first, name)
        assert first.servers == []
        assert clusters.take() is not first
    finally:
        clusters.end()


def test_a_server_that_has_just_started_can_be_stopped(
    flavour: Flavour, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{flavour}_server").primary
    for _ in range(5):
        server.restart()


def test_a_server_that_is_down_keeps_its_port(
    flavour: Flavour, request: pytest.FixtureRequest
) -> None:
    """Else another process could be given it meanwhile, and the server would not start again."""
    server = request.getfixturevalue(f"{flavour}_server").primary
    server.stop()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))
    server.start()
    assert server.sql("SELECT 1 AS one") == [{"one": 1}]


def app(server: Server, database: str) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    """A connection as an application has it."""
    where = {"host": "127.0.0.1", "port": server.port}
    return pymysql.connect(**where, user="app", database=database, autocommit=True)


TEMPLATE = (
    "CREATE TABLE parents (id INT PRIMARY KEY AUTO_INCREMENT, favourite INT,"
    " name VARCHAR(50) NOT NULL, size INT AS (CHAR_LENGTH(name)) STORED)",
    "CREATE TABLE children (id INT PRIMARY KEY AUTO_INCREMENT, parent INT NOT NULL,"
    " at DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6), FOREIGN KEY (parent) REFERENCES parents (id))",
    "ALTER TABLE parents ADD FOREIGN KEY (favourite) REFERENCES children (id)",
    "INSERT INTO parents (name) VALUES ('100 %s'), ('')",
    "SET STATEMENT sql_mode = 'NO_AUTO_VALUE_ON_ZERO' FOR INSERT INTO children VALUES (0, 1, NULL)",
    "INSERT INTO children VALUES (41, 2, '2026-01-02 03:04:05.000006')",
    "UPDATE parents SET favourite = 41",
    "CREATE FUNCTION plus_one (n INT) RETURNS INT DETERMINISTIC RETURN n + 1",
    "CREATE VIEW names AS SELECT name FROM parents WHERE name LIKE '100%'",
    "CREATE TRIGGER grows BEFORE INSERT ON parents"
    " FOR EACH ROW SET NEW.name = CONCAT('a', NEW.name)",
)


def test_a_copy_has_all_that_the_database_has(
    flavour: Flavour, request: pytest.FixtureRequest
) -> None:
    cluster: Cluster = request.getfixturevalue(f"{flavour}_server")
    with cluster.database() as template:

        def do(statement: str, name: str) -> list[tuple[object, ...]]:
            with closing(app(cluster.primary, name)) as connection:
                cursor = connection.cursor()
                cursor.execute(statement)
                return list(cursor.fetchall())

        for statement in TEMPLATE:
            if flavour == "mysql" and statement.startswith("SET STATEMENT"):
                do("INSERT INTO children VALUES (7, 1, NULL)", template)
                do("UPDATE children SET id = 0", template)
            else:
                do(statement, template)
        if flavour == "mariadb":
            do("CREATE SEQUENCE numbers START WITH 5 NOCACHE", template)
            do("SELECT NEXTVAL(numbers)", template)
            do("CREATE TABLE t (id INT PRIMARY KEY DEFAULT NEXTVAL(numbers))", template)
        queries = (
            "SELECT * FROM parents ORDER BY id",
            "SELECT * FROM children ORDER BY id",
            "SELECT * FROM names",
            "SELECT plus_one(1)",
        )
        rows = [do(query, template) for query in queries]
        name = cluster.create_database(template)
        try:
            assert [do(query, name) for query in queries] == rows
            assert {row[0] for row in do("SHOW TABLES", name)} == {
                row[0] for row in do("SHOW TABLES", template)
            }
            do("INSERT INTO parents (name) VALUES ('b')", name)
            grown = do("SELECT id, name, size FROM parents WHERE name = 'ab'", name)
            assert grown == [(3, "ab", 2)]
            do("INSERT INTO children (parent) VALUES (3)", name)
            assert do("SELECT id FROM children WHERE parent = 3", name) == [(42,)]
            with pytest.raises(pymysql.IntegrityError):
                do("INSERT INTO children (parent) VALUES (9)", name)
            if flavour == "mariadb":
                do("INSERT INTO t VALUES ()", name)
                assert do("SELECT id FROM t", name) == [(6,)]
            assert [do(query, template) for query in queries] == rows  # which is as it was
        finally:
            cluster.drop_database(name)
