import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orm.backends.postgresql.scratch_server import running
from orm.testing import mysql
from orm.testing.postgresql import Cluster
from tests.conftest import started
from tests.migrations.scripts import try_out
from tests.migrations.support import MySQLProject, PostgreSQLProject, Project

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """An empty application in the working directory, with this repository's template.

    Its database is the engine's that the parameter names; SQLite's without one.
    """
    engine = getattr(request, "param", "sqlite")
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    template = REPOSITORY / "alembic" / "script.py.mako"
    (tmp_path / "alembic" / template.name).write_text(template.read_text())
    (tmp_path / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/alembic"\nprepend_sys_path = ["%(here)s"]\n'
        "revision_environment = true\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # Alembic puts the folder in front
    # Files change faster here than the clock that would tell that their bytecode is old.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    if engine == "sqlite":
        made = Project(tmp_path, {})
    elif engine in ("mariadb", "mysql"):
        server = request.getfixturevalue(f"{engine}_server")
        name = request.getfixturevalue("mysql_database")(server)
        with (tmp_path / "pyproject.toml").open("a") as settings:
            settings.write(f'[tool.orm]\nlocal = "{server.primary.url(database=name)}"\n')
        made = MySQLProject(tmp_path, {})
    else:
        url = request.getfixturevalue("postgresql_url")
        if engine == "asyncpg":  # by a parameter that only this driver knows
            url = url.replace("+psycopg", "+asyncpg") + "?prepared_statement_cache_size=100"
        with (tmp_path / "pyproject.toml").open("a") as settings:
            settings.write(f'[tool.orm]\nlocal = "{url}"\n')
        made = PostgreSQLProject(tmp_path, {})
    made.models("")
    yield made
    if engine == "sqlite":
        try_out(made)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A server of PostgreSQL."""
    # The server of scratch databases stays too: commands would start it one by one.
    with Cluster(standbys=0) as cluster, running():
        yield cluster


@pytest.fixture
def postgresql_url(postgresql: Cluster) -> Iterator[str]:
    """The URL of an empty database, for psycopg."""
    with postgresql.database() as name:
        yield postgresql.primary.url("psycopg", database=name)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[mysql.Cluster]:
    """A server of MariaDB without replicas."""
    with started("mariadb", standbys=0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[mysql.Cluster]:
    """A server of MySQL without replicas."""
    with started("mysql", standbys=0) as cluster:
        yield cluster


@pytest.fixture
def mysql_database() -> Iterator[Callable[[mysql.Cluster], str]]:
    """Makes databases that are gone after the test."""
    with ExitStack() as stack:
        yield lambda cluster: stack.enter_context(cluster.database())
