"""One server of PostgreSQL: its files and its processes."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from orm.testing.postgresql import programs

__all__ = ["Node"]

_PATIENCE: Final = 30.0
"""Seconds after which what ought to happen soon has failed."""
_POLL: Final = 0.01

_SETTINGS: Final = """
listen_addresses = '127.0.0.1'
fsync = off
wal_log_hints = on
wal_keep_size = 256MB
wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
max_connections = 200
max_prepared_transactions = 10
"""


class Node:
    """A server in a folder of its own, on a port of the loopback interface.

    Args:
        name: for people.
        folder: where it keeps everything; the path has to be short, for the socket in it.
        programs: the folder of PostgreSQL's programs.
    """

    def __init__(self, name: str, folder: Path, programs: Path) -> None:
        self.name = name
        self.folder = folder
        self.port: int = _free_port()
        self.database = "postgres"
        """Which one `url` and `sql` mean when they are not told."""
        self._programs = programs
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

    def url(
        self,
        driver: Literal["asyncpg", "psycopg"] = "asyncpg",
        *,
        database: str | None = None,
        user: str = "postgres",
    ) -> str:
        """Where SQLAlchemy finds it.

        Args:
            driver: SQLAlchemy's name of it.
            database: a database of the server, instead of `database`.
            user: the account that connects; the server asks for no password.
        """
        return f"postgresql+{driver}://{user}@127.0.0.1:{self.port}/{database or self.database}"

    def sql(self, statement: str, *, database: str | None = None) -> list[str]:
        """Execute SQL as the superuser; the rows, as psql prints them.

        Raises:
            RuntimeError: it failed; with what the server said.
        """
        target = (
            f"host={self.folder} port={self.port} user=postgres dbname={database or self.database}"
        )
        psql = self._programs / "psql"
        options = ("-XAtq", "-v", "ON_ERROR_STOP=1", "-d", target, "-c", statement)
        return programs.run(psql, *options).splitlines()

    # Coming and going --------------------------------------------------------------------------

    def create(self) -> None:
        """Make the files of a new primary."""
        programs.run(
            self._programs / "initdb",
            *("-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"),
            *("--no-sync", "--no-instructions"),
        )
        self.configure(_SETTINGS)

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
            self._programs / "postgres", "-D", self.data, log=self.log
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
        """Shut it down, frozen or not.

        Args:
            mode: ``"fast"`` disconnects all clients and writes what is left; ``"immediate"`` leaves
                that to the next start.
        """
        self.thaw()
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def kill(self) -> None:
        """End all of its processes as a power cut would; return when none is left."""
        self.freeze()
        children = self._children()
        self._end(signal.SIGKILL)
        for child in children:
            _signal(child, signal.SIGKILL)
        self.wait(lambda: all(_state(child) in "ZX" for child in children), "is not dead")

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()

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

    # Standing still ----------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop all of its processes: connections stay open, and get no answer."""
        self._suspend([self.process_id])  # after which it has no more children
        self._suspend(self._children())

    def thaw(self) -> None:
        """Have every process go on that was stopped."""
        for pid in [self.process_id, *self._children()] if self.is_running else []:
            _signal(pid, signal.SIGCONT)

    def _suspend(self, pids: list[int]) -> None:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        self.wait(lambda: all(_state(pid) in "TZX" for pid in pids), "does not stand still")

    @property
    def process_id(self) -> int:
        """The process that is the parent of all others.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    def _children(self) -> list[int]:
        pid = self.process_id
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    # -------------------------------------------------------------------------------------------

    @property
    def conninfo(self) -> str:
        """Where the programs of PostgreSQL find it."""
        return f"host=127.0.0.1 port={self.port} user=postgres"

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

    def setting(self, name: str) -> str:
        """What a setting is, in its own unit."""
        return self.sql(f"SELECT setting FROM pg_settings WHERE name = '{name}'")[0]

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server; return when its processes were told.

        Args:
            name: a setting that needs no restart.
            value: in its own unit.
        """
        self.configure(f"{name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")
        # What forks a new connection has told all others by the time that it shows the value.
        self.wait(lambda: self.setting(name) == value, f"does not take {name}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-10:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _state(pid: int) -> str:
    """The letter of proc(5): T is stopped, Z has ended, X is nowhere to be found."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
