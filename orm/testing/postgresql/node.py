"""One server of PostgreSQL: its files and its processes."""

import os
import signal
from pathlib import Path
from typing import Final, Literal

from orm.backends.postgresql import programs
from orm.backends.postgresql.own_server import OwnServer

__all__ = ["Node"]

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


class Node(OwnServer):
    """A server in a folder of its own, on a port of the loopback interface.

    Args:
        name: for people.
        folder: where it keeps everything; the path has to be short, for the socket in it.
        programs: the folder of PostgreSQL's programs.
    """

    def __init__(self, name: str, folder: Path, programs: Path) -> None:
        super().__init__(name, folder, programs, _SETTINGS)
        self.database = "postgres"
        """Which one `url` and `sql` mean when they are not told."""

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
        psql = self.programs / "psql"
        options = ("-XAtq", "-v", "ON_ERROR_STOP=1", "-d", target, "-c", statement)
        return programs.run(psql, *options).splitlines()

    # Coming and going --------------------------------------------------------------------------

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Shut it down, frozen or not.

        Args:
            mode: ``"fast"`` disconnects all clients and writes what is left; ``"immediate"`` leaves
                that to the next start.
        """
        self.thaw()
        super().stop(mode)

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
