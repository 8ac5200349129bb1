"""One server of PostgreSQL, and what can befall it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from orm.testing.postgresql import programs

__all__ = ["Server"]

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
"""


class Server:
    """A server in a folder of its own, on a port of the loopback interface.

    Args:
        name: for people.
        folder: where it keeps everything; the path has to be short, for the socket in it.
        programs: the folder of PostgreSQL's programs.
    """

    def __init__(self, name: str, folder: Path, programs: Path) -> None:
        self.name = name
        self.folder = folder
        self.port = _free_port()
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: list[int] = []

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
        database: str = "postgres",
        user: str = "postgres",
    ) -> str:
        """Where SQLAlchemy finds it.

        Args:
            driver: SQLAlchemy's name of it.
            database: a database of the server.
            user: who connects; nobody is asked for a password.
        """
        return f"postgresql+{driver}://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, *, database: str = "postgres") -> list[str]:
        """Execute SQL as the superuser; the rows, as psql prints them.

        Raises:
            RuntimeError: it failed; with what the server said.
        """
        # An application name of its own, by which its connections are told from a test's.
        target = f"host={self.folder} port={self.port} user=postgres dbname={database}"
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

    def clone(self, source: "Server") -> None:
        """Make the files of a standby of another server."""
        programs.run(
            self._programs / "pg_basebackup",
            *("-d", source._conninfo, "-D", self.data, "-X", "stream", "-c", "fast"),
            *("--no-sync", "--no-manifest"),
        )
        self._stand_by(source)

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
            mode: ``"fast"`` disconnects everybody and writes what is left; ``"immediate"`` is a
                crash, but for its own children.
        """
        self.thaw()
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def kill(self) -> None:
        """End it as a power cut would."""
        children = self._children()
        self._end(signal.SIGKILL)
        for child in children:
            _signal(child, signal.SIGKILL)
        self._stopped = []

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(by)
            process.wait(_PATIENCE)

    @property
    def is_running(self) -> bool:
        """Whether its process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    # Standing by -------------------------------------------------------------------------------

    @property
    def _conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres"

    def _stand_by(self, primary: "Server") -> None:
        (self.data / "standby.signal").touch()
        if programs.ownership():
            owner = programs.ownership()
            os.chown(self.data / "standby.signal", owner["user"], owner["group"])
        self.configure(f"primary_conninfo = '{primary._conninfo} application_name={self.name}'")

    def follow(self, primary: "Server") -> None:
        """Have a standby stream from a server; return when it does."""
        self.configure(f"primary_conninfo = '{primary._conninfo} application_name={self.name}'")
        self._reload()
        self.wait(self._streams, f"does not follow {primary.name}")

    def partition(self) -> None:
        """Cut a standby off from whom it follows; return when nothing arrives any more."""
        self.configure(f"primary_conninfo = 'host={self.folder}/nowhere'")
        self._reload()
        self.wait(lambda: not self._streams(), "still streams")

    def _streams(self) -> bool:
        return self.sql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'") == ["1"]

    def pause(self) -> None:
        """Have a standby receive, and replay nothing."""
        self.sql("SELECT pg_wal_replay_pause()")
        self.wait(
            lambda: self.sql("SELECT pg_get_wal_replay_pause_state()") == ["paused"],
            "does not pause",
        )

    def resume(self) -> None:
        """Have a standby go on replaying."""
        self.sql("SELECT pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        """Have a standby replay each commit that long after it was made."""
        self.configure(f"recovery_min_apply_delay = {round(seconds * 1000)}ms")
        self._reload()

    def caught_up(self, primary: "Server") -> None:
        """Return when the standby shows all that the other server has committed by now."""
        [lsn] = primary.sql("SELECT pg_current_wal_flush_lsn()")
        self.wait(
            lambda: self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == ["t"],
            f"does not catch up with {primary.name}",
        )

    def promote(self) -> None:
        """Make a standby a primary, of a new timeline."""
        self.sql("SELECT pg_promote(true, 30)")

    def rewind(self, primary: "Server") -> None:
        """Make a server that has gone its own way a standby again, and start it."""
        if self.is_running:
            self.stop()
        settings = (self.data / "postgresql.conf").read_text()
        programs.run(
            self._programs / "pg_rewind",
            *("-D", self.data, "--source-server", f"{primary._conninfo} dbname=postgres"),
            "--no-sync",
        )
        (self.data / "postgresql.conf").write_text(settings)  # it was the other server's
        self._stand_by(primary)
        self.start()
        self.wait(self._streams, f"does not follow {primary.name}")

    # Standing still ----------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop all of its processes: connections stay open, and nobody answers."""
        assert self._process is not None
        self._suspend(self._process.pid)
        for child in self._children():
            self._suspend(child)

    def freeze_only(self, process: Literal["walreceiver", "startup", "checkpointer"]) -> None:
        """Stop one of its processes: ``walreceiver`` receives WAL, ``startup`` replays it."""
        for child in self._children():
            if process in Path(f"/proc/{child}/cmdline").read_text():
                self._suspend(child)
                return
        raise RuntimeError(f"{self.name} has no process {process}")

    def thaw(self) -> None:
        """Have all go on that was stopped."""
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped = []

    def _suspend(self, pid: int) -> None:
        _signal(pid, signal.SIGSTOP)
        self._stopped.append(pid)

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in children.read_text().split()] if children.exists() else []

    # -------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], failure: str) -> None:
        """Return when something is so.

        Raises:
            RuntimeError: it is not so after half a minute.
        """
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} {failure}: {self._last_words()}")
            time.sleep(_POLL)

    def _reload(self) -> None:
        self.sql("SELECT pg_reload_conf()")

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
