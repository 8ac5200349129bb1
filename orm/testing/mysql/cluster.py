"""A primary and its replicas."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from orm.testing.mysql.packages import Flavour
from orm.testing.mysql.programs import find
from orm.testing.mysql.server import ACCOUNT, REPLICATOR, Server

__all__ = ["Cluster"]

_MEMORY: Final = Path("/dev/shm")
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
    """A primary and replicas by GTID, in a folder that is gone afterwards. Use it in ``with``.

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
        there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
        base = _MEMORY if there else None
        self._root = Path(tempfile.mkdtemp(prefix=f"orm-my-{os.getpid()}-", dir=base))
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
            if server.is_running:
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
        """Undo every fault of its servers; return when all replicas have caught up."""
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

    def create_database(self) -> str:
        """A new, empty database that every replica has; its name."""
        name = f"test_{secrets.token_hex(8)}"
        self.primary.sql(f"CREATE DATABASE {name}", database="")
        self.caught_up()
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, if it is there."""
        self.primary.sql(f"DROP DATABASE IF EXISTS {name}", database="")
