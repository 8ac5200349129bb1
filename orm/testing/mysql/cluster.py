"""A primary and its replicas."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import pymysql

from orm.backends.postgresql.own_server import new_folder
from orm.testing.mysql.copying import copy_tables
from orm.testing.mysql.node import ACCOUNT
from orm.testing.mysql.packages import Flavour
from orm.testing.mysql.programs import find
from orm.testing.mysql.server import REPLICATOR, Server

__all__ = ["Cluster"]

_PREFIX: Final = "orm-my-"
_ROOM: Final = 2 * 2**30  # bytes

_ACCOUNTS: Final = (
    f"CREATE USER {ACCOUNT}@'%'",
    f"GRANT ALL ON `test\\_%`.* TO {ACCOUNT}@'%'",
    f"GRANT ALL ON `orm\\_scratch\\_%`.* TO {ACCOUNT}@'%'",
    f"CREATE USER {REPLICATOR}@'%'",
    f"GRANT REPLICATION SLAVE ON *.* TO {REPLICATOR}@'%'",
)
_RIGHTS: Final[dict[Flavour, tuple[str, ...]]] = {
    # The first for tests alone, which pause replicas by it.
    "mariadb": (f"GRANT REPLICATION SLAVE ADMIN ON *.* TO {ACCOUNT}@'%'",),
    "mysql": (
        f"GRANT REPLICATION_SLAVE_ADMIN ON *.* TO {ACCOUNT}@'%'",
        f"GRANT SELECT ON performance_schema.replication_connection_status TO {ACCOUNT}@'%'",
    ),
}


class Cluster:
    """A primary and replicas by GTID, in a folder that is gone afterwards.

    Use it in ``with``. Servers that a killed process left behind have ended with it, and the next
    cluster removes their folders.

    Args:
        flavour: ``"mariadb"`` or ``"mysql"``.
        standbys: how many replicas.
    """

    def __init__(self, flavour: Flavour, standbys: int = 2) -> None:
        self.flavour: Flavour = flavour
        self._count = standbys
        self._root: Path | None = None
        self.servers: list[Server] = []
        """All of them; the first one was made as the primary."""
        self.primary: Server
        """The server that was promoted last."""

    @property
    def standbys(self) -> list[Server]:
        """All but the primary."""
        return [server for server in self.servers if server is not self.primary]

    def __enter__(self) -> Self:
        programs = find(self.flavour)
        self._root = new_folder(_PREFIX, _ROOM)
        try:
            template = self._root / "template"
            programs.create(template)
            for number in range(1, self._count + 2):
                folder = self._root / str(number)
                folder.mkdir()
                shutil.copytree(template, folder / "data")
                self.servers.append(Server(f"server{number}", number, folder, programs, template))
            self.primary = self.servers[0]
            for server in self.servers:
                server.start()
            for statement in (*_ACCOUNTS, *_RIGHTS[self.flavour]):
                self.primary.sql(statement)
            for server in self.standbys:
                server.follow(self.primary)
            self.caught_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self.servers:
            server.kill()
        self.servers = []
        if self._root is not None:
            shutil.rmtree(self._root)
            self._root = None

    def caught_up(self) -> None:
        """Return when every replica that runs shows all that the primary has committed by now."""
        for server in self.standbys:
            if server.is_running:
                server.caught_up(self.primary)

    def promote(self, replica: Server) -> None:
        """Make a replica the primary. The other servers are not told, nor is the old primary."""
        replica.promote()
        self.primary = replica

    def rejoin(self, server: Server) -> None:
        """Make a former primary a replica of the present one; its own later writes are lost."""
        server.rejoin(self.primary)

    def heal(self) -> None:
        """Undo every fault of its servers; return when all replicas have caught up.

        Raises:
            RuntimeError: it cannot be undone: a server does not start, or does not replicate.
        """
        for server in (self.primary, *self.standbys):
            server.heal()
        self.caught_up()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database of a name that is not used again, for the length of the block.

        Returns:
            Its name, for `Server.url`.
        """
        name = self.create_database()
        try:
            yield name
        finally:
            self.drop_database(name)

    def create_database(self, template: str | None = None) -> str:
        """A new database that every replica has; its name.

        Args:
            template: a database to copy, with all that it has; without one the new database is
                empty.
        """
        name = f"test_{secrets.token_hex(8)}"
        self.primary.sql(f"CREATE DATABASE {name}", database="")
        if template:
            copy_tables(self.primary.url(database=name), template)
        self.caught_up()
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, if it is there; who is connected to it loses the connection."""
        clients = (  # and not what applies the primary's changes there
            "SELECT id FROM information_schema.processlist "
            f"WHERE db = '{name}' AND user <> 'system user'"
        )
        for server in self.servers:  # a table that is read cannot be dropped, on a replica neither
            for row in server.sql(clients, database="") if server.answers else ():
                with suppress(pymysql.MySQLError):  # it has gone by itself
                    server.sql(f"KILL {next(iter(row.values()))}", database="")
        self.primary.sql(f"DROP DATABASE IF EXISTS {name}", database="")
