"""An application's database for one test: a copy of one to which all revisions were applied."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from sqlalchemy import URL, make_url

from orm.exceptions import ConfigurationError
from orm.migrations.application import Application
from orm.migrations.running.applying import apply_now

if TYPE_CHECKING:
    from orm.testing.plugin import Clusters
    from orm.testing.postgresql import Cluster

__all__ = ["Migrated", "Servers", "migrated"]

_Driver = Literal["asyncpg", "psycopg"]


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
    cluster: "Cluster | None" = None


class Migrated(Protocol):
    """Where the copies come from."""

    def copy(self, folder: Path) -> Iterator[Servers]:
        """A copy that is gone afterwards; a generator for a fixture.

        Args:
            folder: an empty one, for what is a file.
        """
        ...


def migrated(
    driver: str, application: Path, folder: Path, clusters: "Clusters | None" = None
) -> Migrated:
    """The application's database, with all its revisions applied.

    Args:
        driver: ``"aiosqlite"``, ``"asyncpg"`` or ``"psycopg"``.
        application: the folder of its ``pyproject.toml``.
        folder: where it is kept, if it is a file.
        clusters: where it is kept, if it is on servers.

    Raises:
        ConfigurationError: there is no such driver, or no application in the folder.
        MigrationError: a revision failed.
    """
    revisions = Application.at(application)
    if driver == "aiosqlite":
        return _File(revisions, folder / "app.db")
    if clusters is None or driver not in ("asyncpg", "psycopg"):
        raise ConfigurationError(
            f"there are no test databases for {driver!r}: aiosqlite, asyncpg or psycopg"
        )
    return _Template(revisions, cast(_Driver, driver), clusters)


class _File:
    def __init__(self, application: Application, file: Path) -> None:
        self._file = file
        apply_now(application, _sqlite(file))

    def copy(self, folder: Path) -> Iterator[Servers]:
        file = folder / self._file.name
        shutil.copyfile(self._file, file)  # no connection is open, so the file is complete
        yield Servers(_sqlite(file).render_as_string(), replicas=2)


class _Template:
    def __init__(self, application: Application, driver: _Driver, clusters: "Clusters") -> None:
        self._application = application
        self._driver: _Driver = driver
        self._clusters = clusters
        self._made: tuple[Cluster, str] | None = None

    def copy(self, folder: Path) -> Iterator[Servers]:
        cluster = self._clusters.take()
        with self._clusters.lent(template=self._name_in(cluster)) as lent:
            primary, *standbys = (server.url(self._driver) for server in lent.servers)
            yield Servers(primary, standbys, lent)

    def _name_in(self, cluster: "Cluster") -> str:
        if self._made is None or self._made[0] is not cluster:  # it is gone with its cluster
            name = cluster.create_database()
            url = cluster.primary.url(self._driver, database=name)
            apply_now(self._application, make_url(url))
            self._made = cluster, name
        return self._made[1]


def _sqlite(file: Path) -> URL:
    return URL.create("sqlite+aiosqlite", database=str(file))
