"""A server of PostgreSQL that this process makes, starts and stops: its files and its process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from orm.backends.postgresql import programs

__all__ = ["OwnServer", "give", "new_folder", "own_port"]

_PATIENCE: Final = 30.0
"""Seconds after which what ought to happen soon has failed."""
_POLL: Final = 0.01
_PREFIX: Final = "orm-pg-"
_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 512 * 2**20  # bytes


class OwnServer:
    """A server in a folder of its own, which asks for no password.

    Args:
        name: for people.
        folder: where it keeps everything; the path has to be short, for the socket in it.
        programs: the folder of PostgreSQL's programs.
        settings: lines of ``postgresql.conf``.
    """

    def __init__(self, name: str, folder: Path, programs: Path, settings: str) -> None:
        self.name = name
        self.folder = folder
        self.port: int = own_port(self)
        self.programs: Path = programs
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def create(self) -> None:
        """Make the files of a new primary, whose superuser is ``postgres``."""
        programs.run(
            self.programs / "initdb",
            *("-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"),
            *("--no-sync", "--no-instructions"),
        )
        self.configure(self._settings)

    def configure(self, settings: str) -> None:
        """Add lines to ``postgresql.conf``; the last line that names a setting counts."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{settings}\n")

    def start(self) -> None:
        """Start it; return when it takes connections.

        Raises:
            RuntimeError: it ended at once; with what it said last.
        """
        self.configure(f"port = {self.port}\nunix_socket_directories = '{self.folder}'")
        pid = self.data / "postmaster.pid"
        pid.unlink(missing_ok=True)  # a killed one leaves it behind
        self._process = process = programs.spawn(
            self.programs / "postgres", "-D", self.data, log=self.log
        )
        self._keeper = programs.keep(process.pid)

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start: {self._last_words()}")
            # The eighth line is its state (PostgreSQL's src/include/utils/pidfile.h).
            lines = pid.read_text().splitlines() if pid.exists() else []
            return len(lines) >= 8 and lines[7].strip() == "ready"

        self.wait(ready, "takes no connections")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Shut it down.

        Args:
            mode: ``"fast"`` disconnects all clients and writes what is left; ``"immediate"`` leaves
                that to the next start.
        """
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        keeper, self._keeper = self._keeper, None
        if process is not None:
            process.send_signal(by)
            process.wait(_PATIENCE)
        if keeper is not None:
            programs.release(keeper)

    @property
    def is_running(self) -> bool:
        """Whether its process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    def wait(self, condition: Callable[[], bool], failure: str) -> None:
        """Return when a condition holds.

        Raises:
            RuntimeError: the condition does not hold after half a minute.
        """
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} {failure}: {self._last_words()}")
            time.sleep(_POLL)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-10:])


def own_port(owner: object) -> int:
    """A port of the loopback interface that is no other server's as long as an object lives.

    On Linux a socket that is bound to it, and does not listen, keeps it while the server is down:
    the system leaves out such a port when it is asked for any, and a server may bind it, since it
    says SO_REUSEADDR, too (``inet_csk_bind_conflict``). On other systems it would stand in the
    server's way, and the port is only free now.

    Args:
        owner: the server.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port: int = keeper.getsockname()[1]
    if sys.platform == "linux":
        weakref.finalize(owner, os.close, keeper.detach())
    else:
        keeper.close()
    return port


def new_folder(prefix: str = _PREFIX, room: int = _ROOM) -> Path:
    """A folder of this process, which servers may use; in memory, where there is room.

    Those that a killed process left behind are removed.

    Args:
        prefix: with which the names of all such folders begin.
        room: bytes that have to be free.
    """
    base = Path(tempfile.gettempdir())
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > room:
        base = _MEMORY
    for old in base.glob(f"{prefix}*"):
        owner = old.name.removeprefix(prefix).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)  # another process may be removing it
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=base))
    give(folder)
    return folder


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def give(folder: Path) -> None:
    """Make a folder that of the user whom servers run as."""
    owner = programs.ownership()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
