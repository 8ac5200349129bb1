"""Fixtures for pytest, which finds them by itself where this library is installed.

Nothing is imported and nothing starts before a test asks for one: see `orm.testing.postgresql`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orm.database import Database
    from orm.testing.migrated import Migrated, Servers
    from orm.testing.postgresql import Cluster


class Clusters:
    """Hands out one cluster after the other: the same one as long as it is sound."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._stack = ExitStack()

    def take(self) -> Cluster:
        """A cluster of a primary and two standbys that have caught up."""
        from orm.testing.postgresql import Cluster

        if self._cluster is None:
            self._cluster = self._stack.enter_context(Cluster())
        return self._cluster

    def give_back(self, cluster: Cluster, database: str) -> None:
        """Undo what a test has done to it; what cannot be undone ends it."""
        first = cluster.servers[0]
        if [server.upstream for server in cluster.servers] != [None, first, first]:
            self.end()  # other roles, or another number
            return
        try:
            cluster.heal()
            cluster.drop_database(database)
        except RuntimeError:  # whatever it was that a test did, the next one is not to see it
            self.end()

    @contextmanager
    def lent(self, template: str | None = None) -> Iterator[Cluster]:
        """A cluster for the length of the block; `Server.url` is that of a new database.

        Args:
            template: a database to copy; otherwise the new one is empty.
        """
        cluster = self.take()
        name = cluster.create_database(template)
        for server in cluster.servers:
            server.database = name
        try:
            yield cluster
        finally:
            for server in cluster.servers:
                server.database = "postgres"
            self.give_back(cluster, name)

    def end(self) -> None:
        """Leave nothing running."""
        self._cluster = None
        self._stack.close()


@pytest.fixture(scope="session")
def postgresql_clusters() -> Iterator[Clusters]:
    """Where `postgresql_cluster` comes from."""
    clusters = Clusters()
    yield clusters
    clusters.end()


@pytest.fixture
def postgresql_cluster(postgresql_clusters: Clusters) -> Iterator[Cluster]:
    """A healthy primary with two standbys, and an empty database on them, for one test.

    `Server.url` is that of the empty database. Whatever a test does to the servers is undone after
    it; where that cannot be, after a promotion, say, the next test gets a new cluster.
    """
    with postgresql_clusters.lent() as cluster:
        yield cluster


# An application's database --------------------------------------------------------------------


@pytest.fixture(scope="session")
def orm_driver() -> str:
    """What the application is tested on: ``"aiosqlite"``, ``"asyncpg"`` or ``"psycopg"``.

    Override it, with several as parameters if you like: the tests then run on each of them.
    """
    return "aiosqlite"


@pytest.fixture(scope="session")
def orm_application(pytestconfig: pytest.Config) -> Path:
    """The folder of the application's ``pyproject.toml``: pytest's root, if not overridden."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def orm_migrated(
    orm_driver: str,
    orm_application: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Migrated:
    """Where `orm_servers` come from: all revisions are applied once, and copied for each test."""
    from orm.testing.migrated import migrated

    embedded = orm_driver == "aiosqlite"
    clusters = None if embedded else request.getfixturevalue("postgresql_clusters")
    return migrated(orm_driver, orm_application, tmp_path_factory.mktemp("orm"), clusters)


@pytest.fixture
def orm_servers(
    orm_migrated: Migrated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """A primary and two replicas with the application's tables, for one test.

    Nothing has to be rolled back: what a test commits, to real servers and for all to see, is
    thrown away with them.
    """
    yield from orm_migrated.copy(tmp_path_factory.mktemp("orm"))


@pytest.fixture
def orm_database(orm_servers: Servers) -> Database:
    """A `Database` on `orm_servers`, which is not started: use it in ``async with``."""
    from orm.database import Database

    return Database(orm_servers.url, replicas=orm_servers.replicas)
