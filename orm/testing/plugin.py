"""Fixtures for pytest, which finds them by itself where this library is installed.

Nothing is imported and nothing starts before a test asks for one: see `orm.testing.postgresql` and
`orm.testing.mysql`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orm.database import Database
    from orm.testing import mysql, postgresql
    from orm.testing.clusters import Clusters
    from orm.testing.migrated import Migrated, Servers

# Clusters -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_clusters() -> Iterator[Clusters[postgresql.Cluster]]:
    """Where `postgresql_cluster` comes from."""
    from orm.testing.clusters import Clusters
    from orm.testing.postgresql import Cluster

    clusters = Clusters(Cluster)
    yield clusters
    clusters.end()


@pytest.fixture
def postgresql_cluster(
    postgresql_clusters: Clusters[postgresql.Cluster],
) -> Iterator[postgresql.Cluster]:
    """A healthy primary with two standbys, and an empty database on them, for one test.

    `Server.url` is that of the empty database. Whatever a test does to the servers is undone after
    it; where that cannot be, after a promotion, say, the next test gets a new cluster.
    """
    with postgresql_clusters.lent() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb_clusters() -> Iterator[Clusters[mysql.Cluster]]:
    """Where `mariadb_cluster` comes from."""
    yield from _mysql_clusters("mariadb")


@pytest.fixture
def mariadb_cluster(
    mariadb_clusters: Clusters[mysql.Cluster],
) -> Iterator[mysql.Cluster]:
    """What `postgresql_cluster` is, of MariaDB."""
    with mariadb_clusters.lent() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mysql_clusters() -> Iterator[Clusters[mysql.Cluster]]:
    """Where `mysql_cluster` comes from."""
    yield from _mysql_clusters("mysql")


@pytest.fixture
def mysql_cluster(mysql_clusters: Clusters[mysql.Cluster]) -> Iterator[mysql.Cluster]:
    """What `postgresql_cluster` is, of MySQL."""
    with mysql_clusters.lent() as cluster:
        yield cluster


def _mysql_clusters(flavour: mysql.Flavour) -> Iterator[Clusters[mysql.Cluster]]:
    from orm.testing.clusters import Clusters
    from orm.testing.mysql import Cluster

    clusters = Clusters(lambda: Cluster(flavour))
    yield clusters
    clusters.end()


# An application's database --------------------------------------------------------------------


@pytest.fixture(scope="session")
def orm_driver() -> str:
    """What the application is tested on.

    It is ``"aiosqlite"``; ``"asyncpg"`` or ``"psycopg"``; or one of ``"mariadb+asyncmy"``,
    ``"mariadb+aiomysql"``, ``"mysql+asyncmy"`` and ``"mysql+aiomysql"``.

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
    from orm.testing.migrated import engine_of, migrated

    engine = engine_of(orm_driver)
    clusters = None if engine == "sqlite" else request.getfixturevalue(f"{engine}_clusters")
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
