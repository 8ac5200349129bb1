"""Real databases for the tests: one harness a backend, the same suite over all of them."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from sqlalchemy import Engine, event, select

from models import Base, User
from orm import Bookmark, Database, Replica
from orm.exceptions import ConfigurationError
from orm.testing import caught_up, mysql
from orm.testing.postgresql import Cluster
from tests import documented

documented.watch()

# The examples of a property are the same in every run, and no clock judges it.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")
# A private name of Hypothesis': it draws from the constants of all modules that are loaded, too,
# and which ones are depends on the tests that ran before. No setting turns that off.
providers.is_local_module_file = lambda _: False


class SQLite:
    """The embedded default: a primary file and two replica files in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{folder}/app.db"
        self.replica_urls = [f"sqlite+aiosqlite:///{folder}/app.replica-{n}.db" for n in (1, 2)]
        self.folder = folder

    def database(self, **options: Any) -> Database:
        """The primary with two replicas that this process keeps up to date."""
        return Database(self.url, **{"replicas": 2} | options)

    def elsewhere(self, **options: Any) -> Database:
        """The same servers as another process sees them: it reads the replicas, no more."""
        return Database(self.url, replicas=self.replica_urls, **options)

    @asynccontextmanager
    async def migrated(self, **options: Any) -> AsyncIterator[Database]:
        async with Database(self.url) as db, db.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        async with self.database(**options) as db:
            yield db


def over(primary: str, replicas: Sequence[str], /, **options: Any) -> Database:
    """A `Database` whose servers have the names that SQLite's have."""
    named = [Replica(url, name=f"replica-{number}") for number, url in enumerate(replicas, 1)]
    return Database(Replica(primary, name="primary"), **{"replicas": named} | options)


PATIENT: Final = {"connect_timeout": 30.0, "dead_after": 30.0}
"""Many programs may run beside the servers: none that is slow is to be taken for dead."""


class Networked:
    """A primary and two replicas of a real cluster, and a database of the test's own on them."""

    cluster: Cluster | mysql.Cluster

    def __init__(self, url: str, replica_urls: Sequence[str]) -> None:
        self.url = url
        self.replica_urls = replica_urls

    def database(self, **options: Any) -> Database:
        """The primary with both replicas."""
        return over(self.url, self.replica_urls, **PATIENT | options)

    elsewhere = database

    @asynccontextmanager
    async def migrated(self, **options: Any) -> AsyncIterator[Database]:
        async with Database(self.url, **PATIENT) as db, db.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        self.cluster.caught_up()
        async with self.database(**options) as db:
            await caught_up(db)  # what the start, and PostgreSQL by itself, has written meanwhile
            yield db


class PostgreSQL(Networked):
    def __init__(self, cluster: Cluster, database: str, driver: Literal["asyncpg", "psycopg"]):
        self.cluster = cluster
        super().__init__(
            cluster.primary.url(driver, database=database),
            [standby.url(driver, database=database) for standby in cluster.standbys],
        )


class MySQL(Networked):
    def __init__(self, cluster: mysql.Cluster, driver: Literal["asyncmy", "aiomysql"]):
        self.cluster = cluster
        super().__init__(
            cluster.primary.url(driver), [replica.url(driver) for replica in cluster.standbys]
        )


Servers = SQLite | PostgreSQL | MySQL


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """A cluster for all tests that leave it as it was."""
    with Cluster() as cluster:
        yield cluster


@contextmanager
def started(flavour: mysql.Flavour, standbys: int = 2) -> Iterator[mysql.Cluster]:
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(mysql.Cluster(flavour, standbys))
        except ConfigurationError as error:
            pytest.skip(str(error))
        yield cluster


@pytest.fixture(scope="session")
def shared_mariadb() -> Iterator[mysql.Cluster]:
    """One of MariaDB, for all tests that leave it as it was."""
    with started("mariadb") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_mysql() -> Iterator[mysql.Cluster]:
    """One of MySQL, for all tests that leave it as it was."""
    with started("mysql") as cluster:
        yield cluster


MYSQL = ["mariadb-asyncmy", "mysql-aiomysql"]
if os.environ.get("ORM_TEST_ALL_DRIVERS"):
    MYSQL += ["mariadb-aiomysql", "mysql-asyncmy"]


@pytest.fixture(params=["SQLite", "asyncpg", "psycopg", *MYSQL])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    """The servers of one backend, not started."""
    if request.param == "SQLite":
        yield SQLite(tmp_path)
        return
    if request.param in MYSQL:
        flavour, driver = request.param.split("-")
        others: mysql.Cluster = request.getfixturevalue(f"shared_{flavour}")
        with others.database() as name:
            for server in others.servers:
                server.database = name
            yield MySQL(others, driver)
        return
    cluster: Cluster = request.getfixturevalue("shared_cluster")
    yield PostgreSQL(cluster, "postgres", request.param)
    # A new database for each test would take longer than most tests.
    cluster.primary.sql(
        "SET lock_timeout = '30s'; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    )


SUITES = {
    "test_attempts.py",
    "test_bad_input.py",
    "test_chain.py",
    "test_closing.py",
    "test_conformance.py",
    "test_connection.py",
    "test_database.py",
    "test_drop_in.py",
    "test_endings.py",
    "test_lives.py",
    "test_read_only.py",
    "test_sessions.py",
    "test_streams.py",
}
"""What runs on every engine; all else is about what the embedded default has, too."""


STARTS_SERVERS = {
    "cluster",
    "mariadb_clusters",
    "mysql_clusters",
    "postgresql",
    "postgresql_clusters",
    "shared_cluster",
    "shared_mariadb",
    "shared_mysql",
}
APPLICATIONS = ["mariadb+asyncmy", "mysql+aiomysql"]
"""What `orm_driver` says."""
ENGINES = ("asyncpg", "mariadb", "mysql", "psycopg", "postgresql", *MYSQL, *APPLICATIONS)
"""By fixture, and by parameter of a fixture."""

SLOW = {"demo", "docs", "simulation", "trials"}
"""Folders; single tests and modules have the marker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what an engine has nothing to do with, and mark what takes long."""
    items[:] = filter(belongs, items)
    for item in items:
        if needs_servers(item):
            item.add_marker("cluster")
        if not SLOW.isdisjoint(item.path.parts):
            item.add_marker("slow")


def parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def belongs(item: pytest.Item) -> bool:
    suites = item.path.name in SUITES or item.path.parent.name in ("mysql", "postgresql")
    sqlite = parameters(item).get("servers", "SQLite") == "SQLite"
    return sqlite or (suites and "embedded" not in item.keywords)


def needs_servers(item: pytest.Item) -> bool:
    return (
        item.path.parent.name in ("mysql", "postgresql")
        or not STARTS_SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
        or any(value in ENGINES for value in parameters(item).values())
    )


@pytest.fixture
async def db(servers: Servers) -> AsyncIterator[Database]:
    """A database with the models' tables and two replicas that have them too."""
    async with servers.migrated() as db:
        yield db
        assert checked_out(db) == 0, "a connection has leaked"


def checked_out(db: Database) -> int:
    """Connections of the database's pools that a session or a test holds."""
    cluster = db.cluster
    engines = [cluster.writer, *(s.engine for s in (cluster.primary, *cluster.replicas))]
    return sum(engine.pool.checkedout() for engine in engines)  # type: ignore[attr-defined]


async def head(db: Database) -> Bookmark:
    """What the primary has by now; PostgreSQL writes into its log now and then by itself."""
    async with db.session("first-primary") as session:
        await session.scalars(select(User))
        return Bookmark.decode(await session.bookmark())


async def is_between(wrote: str, seen: str, db: Database) -> None:
    """A bookmark has what was written, and no more than the primary has by now."""
    assert Bookmark.decode(seen).covers(Bookmark.decode(wrote))
    assert (await head(db)).covers(Bookmark.decode(seen))


class Statements(list[str]):
    """Every statement that reaches a driver through SQLAlchemy, but for the watcher's own."""

    probes = 0
    """How many statements the watcher sent."""


@pytest.fixture
def statements() -> Iterator[Statements]:
    seen = Statements()

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("orm watches"):
            seen.probes += 1
        else:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    yield seen
    event.remove(Engine, "before_cursor_execute", record)


@pytest.fixture(autouse=True)
def only_documented_errors() -> Iterator[None]:
    """Every error of ours that left a public method during the test is in its docstring."""
    yield
    documented.complain()


@pytest.fixture(autouse=True)
def loggers_stay() -> Iterator[None]:
    """Each logger is after a test what it was before.

    A stock ``env.py`` disables the loggers of its process that its file does not name, and a
    command of the harness that a test calls sets levels for its whole process.
    """
    before = {logger: (logger.level, logger.disabled) for logger in _loggers()}
    yield
    for logger in _loggers():
        level, logger.disabled = before.get(logger, (logging.NOTSET, False))
        if logger.level != level:
            logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    known = logging.Logger.manager.loggerDict.values()
    return [one for one in known if isinstance(one, logging.Logger)]  # else it has no settings


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Every thread that a test started ends with the test."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith("asyncio_"):  # the loop's own executor
            thread.join(30)
            assert not thread.is_alive(), f"{thread.name} is still running"
