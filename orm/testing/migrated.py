"""An application's database for one test: a copy of one to which all revisions were applied."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import URL, make_url

from orm.exceptions import ConfigurationError
from orm.migrations.application import Application
from orm.migrations.running.applying import apply_now

if TYPE_CHECKING:
    from orm.testing import mysql, postgresql
    from orm.testing.clusters import Clusters

__all__ = ["Migrated", "Servers", "engine_of", "migrated"]

_ENGINES: Final = {
    "aiosqlite": "sqlite",
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "mariadb+asyncmy": "mariadb",
    "mariadb+aiomysql": "mariadb",
    "mysql+asyncmy": "mysql",
    "mysql+aiomysql": "mysql",
}
"""Of each driver that an application may be tested on."""


@dataclass(frozen=True)
class Servers:
    """What `Database` takes, for one test.

    Attributes:
        url: of the primary.
        replicas: their URLs, or the number of embedded ones.
        cluster: whose verbs pause, kill and promote the servers; None if they are embedded.
    """

    url: str
    replicas: list[str] | int
    cluster: "postgresql.Cluster | mysql.Cluster | None" = None


class Migrated(Protocol):
    """Where the copies come from."""

    def copy(self, folder: Path) -> Iterator[Servers]:
        """A copy that is gone afterwards; a generator for a fixture.

        Args:
            folder: an empty one, for what is a file.
        """
        ...


def engine_of(driver: str) -> str:
    """``"sqlite"``, ``"postgresql"``, ``"mariadb"`` or ``"mysql"``.

    Raises:
        ConfigurationError: there is no such driver.
    """
    if driver not in _ENGINES:
        raise ConfigurationError(
            f"there are no test databases for {driver!r}: have orm_driver return one of "
            f"{', '.join(_ENGINES)}"
        )
    return _ENGINES[driver]


def migrated(
    driver: str, application: Path, folder: Path, clusters: "Clusters[Any] | None" = None
) -> Migrated:
    """The application's database, with all its revisions applied.

    Args:
        driver: what `engine_of` knows.
        application: the folder of its ``pyproject.toml``.
        folder: where it is kept, if it is a file.
        clusters: where it is kept, if it is on servers: those of the driver's engine.

    Raises:
        ConfigurationError: there is no application in the folder.
        MigrationError: a revision failed.
    """
    revisions = Application.at(application)
    if clusters is None:
        return _File(revisions, folder / "app.db")
    return _Template(revisions, driver.rpartition("+")[2], clusters)


class _File:
    def __init__(self, application: Application, file: Path) -> None:
        self._file = file
        apply_now(application, _sqlite(file))

    def copy(self, folder: Path) -> Iterator[Servers]:
        file = folder / self._file.name
        shutil.copyfile(self._file, file)  # no connection is open, so the file is complete
        yield Servers(_sqlite(file).render_as_string(), replicas=2)


class _Template:
    def __init__(self, application: Application, driver: str, clusters: "Clusters[Any]") -> None:
        self._application = application
        self._driver = driver
        self._clusters = clusters
        self._made: tuple[object, str] | None = None
        """A cluster, and the database there that is copied."""

    def copy(self, folder: Path) -> Iterator[Servers]:
        cluster = self._clusters.take()
        with self._clusters.lent(template=self._name_in(cluster)) as lent:
            primary, *replicas = (server.url(self._driver) for server in lent.servers)
            yield Servers(primary, replicas, lent)

    def _name_in(self, cluster: Any) -> str:
        if self._made is None or self._made[0] is not cluster:  # it is gone with its cluster
            name = cluster.create_database()
            url = cluster.primary.url(self._driver, database=name)
            apply_now(self._application, make_url(url))
            self._made = cluster, name
        return self._made[1]


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(file))
