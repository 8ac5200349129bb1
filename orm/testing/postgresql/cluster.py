"""A primary and its standbys."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from orm.backends.postgresql import programs
from orm.backends.postgresql.own_server import give, new_folder
from orm.testing.postgresql.server import Server

__all__ = ["Cluster"]


class Cluster:
    """A primary and streaming standbys, in a folder that is gone afterwards.

    Use it in ``with``. Servers that a killed process left behind have ended with it, and the next
    cluster removes their folders.

    Args:
        standbys: how many.
    """

    def __init__(self, standbys: int = 2) -> None:
        self._count = standbys
        self._root: Path | None = None
        self._programs = Path()
        self.servers: list[Server] = []
        """All of them; the first one was made as the primary."""
        self.primary: Server
        """The server that was promoted last."""

    @property
    def standbys(self) -> list[Server]:
        """All but the primary."""
        return [server for server in self.servers if server is not self.primary]

    def __enter__(self) -> Self:
        self._root = new_folder()
        try:
            self._programs = programs.find(self._root)
            self.primary = self._server()
            self.primary.create()
            self.primary.start()
            for _ in range(self._count):
                self.add_standby()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for server in reversed(self.servers):
            if server.is_running:
                server.stop("immediate")  # which, unlike a kill, gives all of its memory back
        self.servers = []
        if self._root is not None:
            shutil.rmtree(self._root)
            self._root = None

    def add_standby(self) -> Server:
        """One more, of the primary, which follows it."""
        server = self._server()
        server.database = self.primary.database
        server.clone(self.primary)
        server.stand_by(self.primary)
        server.start()
        return server

    def _server(self) -> Server:
        assert self._root is not None, "use the Cluster in 'with'"
        number = len(self.servers) + 1
        folder = self._root / str(number)
        folder.mkdir(mode=0o700)
        give(folder)
        server = Server(f"server{number}", folder, self._programs)
        self.servers.append(server)
        return server

    def caught_up(self) -> None:
        """Return when every standby that runs shows all that the primary has committed by now."""
        for standby in self.standbys:
            if standby.is_running:
                standby.caught_up(self.primary)

    def promote(self, standby: Server) -> None:
        """Make a standby the primary. The other servers are not told, nor is the old primary."""
        standby.promote()
        self.primary = standby

    def rejoin(self, server: Server) -> None:
        """Make a former primary a standby of the present one; its own later writes are lost."""
        server.rejoin(self.primary)

    def heal(self) -> None:
        """Undo every fault of its servers; return when all standbys have caught up.

        Raises:
            RuntimeError: it cannot be undone: a server has gone its own way.
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
        """A new database that every standby has; its name.

        Args:
            template: a database to copy, to which no client is connected; without one the new
                database is empty.
        """
        name = f"test_{secrets.token_hex(8)}"
        copied = f" TEMPLATE {template}" if template else ""
        self.primary.sql(f"CREATE DATABASE {name}{copied}", database="postgres")
        self.caught_up()
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, if it is there; who is connected to it loses the connection."""
        self.primary.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", database="postgres")
