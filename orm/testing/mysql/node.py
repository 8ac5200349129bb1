"""One server of MariaDB or MySQL: its files and its process."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import pymysql
from pymysql.cursors import DictCursor

from orm.backends.postgresql.own_server import own_port
from orm.backends.postgresql.programs import keep, release
from orm.testing.mysql.programs import Programs

__all__ = ["ACCOUNT", "PATIENCE", "Node"]

ACCOUNT: Final = "app"
"""An ordinary account: all rights on databases whose name begins with ``test_``, and no others."""

PATIENCE: Final = 60.0
"""Seconds after which what ought to happen soon has failed."""
_POLL: Final = 0.01

_SETTINGS: Final = (
    *("--log-bin=bin", "--binlog-format=ROW", "--sync-binlog=0", "--skip-name-resolve"),
    *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"),
    *("--bind-address=127.0.0.1", "--max-connections=300"),
    # An ordinary account may make triggers, as it may where the log is off.
    "--log-bin-trust-function-creators=ON",
)
_OWN_SETTINGS: Final = {
    "mariadb": (
        *("--log-slave-updates=ON", "--gtid-strict-mode=ON", "--skip-slave-start"),
        *("--character-set-server=utf8mb4", "--innodb-log-file-size=16M"),
    ),
    "mysql": (
        *("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-replica-updates=ON"),
        *("--mysqlx=OFF", "--innodb-use-native-aio=0", "--skip-replica-start"),
        *("--innodb-redo-log-capacity=16M", "--secure-file-priv=NULL"),
    ),
}


class Node:
    """A server in a folder of its own, on a port of the loopback interface.

    Args:
        name: for people.
        number: its ``server_id``.
        folder: where it keeps everything; the path has to be short, for the socket in it.
        programs: its engine's.
        template: the files of a new server.
    """

    def __init__(
        self, name: str, number: int, folder: Path, programs: Programs, template: Path
    ) -> None:
        self.name = name
        self.number: int = number
        self.folder = folder
        self.port: int = own_port(self)
        self.database = ""
        """Which one `url` and `sql` mean when they are not told."""
        self.settings: tuple[str, ...] = ()
        """Options of the program that it starts with, after all others: ``--skip-log-bin``."""
        self._programs = programs
        self._template = template
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The engine's own folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def url(
        self,
        driver: Literal["asyncmy", "aiomysql"] = "asyncmy",
        *,
        database: str | None = None,
        user: str = ACCOUNT,
    ) -> str:
        """Where SQLAlchemy finds it.

        Args:
            driver: SQLAlchemy's name of it.
            database: a database of the server, instead of `database`.
            user: the account that connects; the server asks for no password.
        """
        name = self.database if database is None else database
        return f"{self._programs.flavour}+{driver}://{user}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, *, database: str | None = None) -> list[dict[str, Any]]:
        """Execute a statement as root; the rows.

        Raises:
            pymysql.MySQLError: it failed.
        """
        connection = pymysql.connect(
            unix_socket=str(self.folder / "socket"),
            user="root",
            database=(self.database if database is None else database) or None,
            autocommit=True,
            cursorclass=DictCursor,
            ssl_disabled=True,  # else all authorities are loaded first, for a local socket
            connect_timeout=int(PATIENCE),
            read_timeout=2 * int(PATIENCE),  # a statement may wait for that long itself
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    @property
    def is_mariadb(self) -> bool:
        """Whether it is MariaDB, and not MySQL."""
        return self._programs.flavour == "mariadb"

    # Coming and going --------------------------------------------------------------------------

    @property
    def is_read_only(self) -> bool:
        """Whether it takes no writes of ordinary accounts when it starts."""
        return False

    def start(self) -> None:
        """Start it; return when it answers.

        Raises:
            RuntimeError: it ended at once; with what it said last.
        """
        command = self._programs.command(
            *_SETTINGS,
            *_OWN_SETTINGS[self._programs.flavour],
            f"--datadir={self.data}",
            f"--tmpdir={self.folder}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            f"--server-id={self.number}",
            f"--read-only={'ON' if self.is_read_only else 'OFF'}",
            *self.settings,
        )
        with self.log.open("ab") as out:
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
            )
        self._keeper = keep(process.pid)

        def ready() -> bool:
            if process.poll() is not None:
                self.kill()  # what is left: its keeper
                raise RuntimeError(f"{self.name} did not start: {self._last_words()}")
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.folder / "socket")):
                    return False
            try:  # it listens before it answers, and a signal to end it may be lost until then
                self.sql("SELECT 1", database="")
            except pymysql.OperationalError:
                return False
            return True

        self.wait(ready, "does not answer")

    def stop(self) -> None:
        """Shut it down, frozen or not."""
        self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut it down and start it again; a replica goes on following what it followed."""
        self.stop()
        self.start()

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        keeper, self._keeper = self._keeper, None
        if process is not None:
            process.send_signal(by)
            process.wait(PATIENCE)
        if keeper is not None:
            release(keeper)

    def _renew(self) -> None:
        """Make its files those of a new server, of another number, that has the same UUID."""
        identity = self.data / "auto.cnf"
        kept = identity.read_bytes() if identity.exists() else None
        shutil.rmtree(self.data)
        shutil.copytree(self._template, self.data)
        if kept is not None:
            identity.write_bytes(kept)
        self.number += 10  # it would leave out what it has written itself

    @property
    def is_running(self) -> bool:
        """Whether its process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether it runs, and is not frozen."""
        if self._process is None or not self.is_running:
            return False
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        return stat.rpartition(") ")[2][0] not in "TZX"  # stopped, ended (proc(5))

    def freeze(self) -> None:
        """Stop its process: connections stay open, and get no answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self.wait(lambda: not self.answers, "does not stand still")

    def thaw(self) -> None:
        """Have it go on, if it was stopped."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)

    # -------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], failure: str) -> None:
        """Return when the condition holds.

        Args:
            condition: asked again and again.
            failure: what is wrong if it does not come to hold.

        Raises:
            RuntimeError: it does not, for a minute.
        """
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} {failure}: {self._last_words()}")
            time.sleep(_POLL)

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
