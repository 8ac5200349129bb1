"""A primary and its standbys."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from orm.testing.postgresql import programs
from orm.testing.postgresql.server import Server

__all__ = ["Cluster"]

_PREFIX: Final = "orm-pg-"
_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 512 * 2**20  # bytes


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
        self._root = _new_folder()
        self._programs = programs.find(self._root)
        try:
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
                server.kill()
        self.servers = []
        if self._root is not None:
            shutil.rmtree(self._root)
            self._root = None

    def add_standby(self) -> Server:
        """One more, of the primary, which follows it."""
        server = self._server()
        server.clone(self.primary)
        server.start()
        return server

    def _server(self) -> Server:
        assert self._root is not None, "use the Cluster in 'with'"
        number = len(self.servers) + 1
        folder = self._root / str(number)
        folder.mkdir(mode=0o700)
        _give(folder)
        server = Server(f"server{number}", folder, self._programs)
        self.servers.append(server)
        return server

    def caught_up(self) -> None:
        """Return when every standby shows all that the primary has committed by now."""
        for standby in self.standbys:
            standby.caught_up(self.primary)

    def promote(self, standby: Server) -> None:
        """Make a standby the primary. Nobody else is told, neither the old primary."""
        standby.promote()
        self.primary = standby

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database of a name that is not used again, for the length of the block.

        Returns:
            Its name, for `Server.url`.
        """
        name = f"test_{secrets.token_hex(8)}"
        self.primary.sql(f"CREATE DATABASE {name}")
        self.caught_up()
        try:
            yield name
        finally:
            self.primary.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _new_folder() -> Path:
    base = Path(tempfile.gettempdir())
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        base = _MEMORY
    for old in base.glob(f"{_PREFIX}*"):
        owner = old.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)  # or somebody else is just removing it
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
    _give(folder)
    return folder


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _give(folder: Path) -> None:
    owner = programs.ownership()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
