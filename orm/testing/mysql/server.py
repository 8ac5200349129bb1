"""One server of MariaDB or MySQL: its process, its replication, and its troubles."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import pymysql
from pymysql.cursors import DictCursor

from orm.backends.postgresql.programs import keep, release
from orm.testing.mysql.programs import Programs

__all__ = ["ACCOUNT", "REPLICATOR", "Server"]

ACCOUNT: Final = "app"
"""An ordinary account: all rights on databases whose name begins with ``test_``, and no others."""
REPLICATOR: Final = "replicator"

_PATIENCE: Final = 30.0
"""Seconds after which what ought to happen soon has failed."""
_POLL: Final = 0.01
_WAITED: Final = 1205  # for a lock, in vain

_SETTINGS: Final = (
    *("--log-bin=bin", "--binlog-format=ROW", "--sync-binlog=0", "--skip-name-resolve"),
    *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"),
    *("--bind-address=127.0.0.1", "--max-connections=300"),
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


class Server:
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
        self.port: int = _free_port()
        self.database = ""
        """Which one `url` and `sql` mean when they are not told."""
        self.upstream: Server | None = None
        """The server that it follows; None for a primary."""
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
            connect_timeout=int(_PATIENCE),
            read_timeout=int(_PATIENCE),
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

    def start(self) -> None:
        """Start it; return when it takes connections, and a replica follows its primary.

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
            f"--read-only={'ON' if self.upstream else 'OFF'}",
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
                raise RuntimeError(f"{self.name} did not start: {self._last_words()}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        self.wait(ready, "takes no connections")
        self._go_on()

    def stop(self) -> None:
        """Shut it down, frozen or not."""
        self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut it down and start it again; it goes on following what it followed."""
        self.stop()
        self.start()

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        keeper, self._keeper = self._keeper, None
        if process is not None:
            process.send_signal(by)
            process.wait(_PATIENCE)
        if keeper is not None:
            release(keeper)

    @property
    def is_running(self) -> bool:
        """Whether its process is there, be it frozen."""
        return self._process is not None and self._process.poll() is None

    def freeze(self) -> None:
        """Stop its process: connections stay open, and get no answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._process.pid}/stat")
        self.wait(lambda: stat.read_text().rpartition(") ")[2][0] in "TZX", "does not stand still")

    def thaw(self) -> None:
        """Have it go on, if it was stopped."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)

    # Replication -------------------------------------------------------------------------------

    def follow(self, primary: "Server", *, port: int | None = None) -> None:
        """Be a replica of another server, read-only; return when it replicates.

        Args:
            primary: that server.
            port: by which it is reached, of a proxy, say.
        """
        if self.upstream is not None:
            self.sql(f"STOP {self._replica}", database="")
        self.upstream = primary
        self.sql("SET GLOBAL read_only = ON", database="")
        if self.is_mariadb:
            if self.sql("SELECT @@gtid_binlog_pos AS at", database="")[0]["at"]:
                # A former primary has its own transactions in its log only.
                self.sql("SET GLOBAL gtid_slave_pos = @@gtid_current_pos", database="")
            self.sql(
                f"CHANGE MASTER TO master_host='127.0.0.1', master_port={port or primary.port}, "
                f"master_user='{REPLICATOR}', master_connect_retry=1, "
                "master_use_gtid=slave_pos",
                database="",
            )
        else:
            self.sql(
                f"CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', "
                f"source_port={port or primary.port}, source_user='{REPLICATOR}', "
                "source_connect_retry=1, source_retry_count=86400, source_auto_position=1, "
                "get_source_public_key=1",
                database="",
            )
        self._go_on()

    def _go_on(self) -> None:
        if self.upstream is not None:
            self.sql(f"START {self._replica}", database="")
            self.wait(lambda: self.replicates("IO") and self.replicates("SQL"), "does not follow")

    @property
    def _replica(self) -> str:
        return "SLAVE" if self.is_mariadb else "REPLICA"

    def replicates(self, thread: Literal["IO", "SQL"]) -> bool:
        """Whether one of the two parts of replication runs: receiving or applying."""
        prefix = "Slave" if self.is_mariadb else "Replica"
        return any(
            row[f"{prefix}_{thread}_Running"] == "Yes"
            for row in self.sql(f"SHOW {self._replica} STATUS", database="")
        )

    def pause(self) -> None:
        """Have a replica receive, and apply nothing."""
        self.sql(f"STOP {self._replica} SQL_THREAD", database="")

    def resume(self) -> None:
        """Have a replica go on applying."""
        self.sql(f"START {self._replica} SQL_THREAD", database="")

    def partition(self) -> None:
        """Cut a replica off from the server that it follows."""
        self.sql(f"STOP {self._replica} IO_THREAD", database="")

    def caught_up(self, primary: "Server") -> None:
        """Return when it shows all that the other server has committed by now.

        Raises:
            RuntimeError: it does not, for half a minute.
        """
        if self.is_mariadb:
            [row] = primary.sql("SELECT @@gtid_binlog_pos AS at", database="")
            question = f"SELECT MASTER_GTID_WAIT('{row['at']}', {_PATIENCE}) AS late"
        else:
            [row] = primary.sql("SELECT @@global.gtid_executed AS at", database="")
            at = row["at"].replace("\n", "")
            question = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{at}', {_PATIENCE}) AS late"
        if self.sql(question, database="")[0]["late"] != 0:
            raise RuntimeError(f"{self.name} does not catch up with {primary.name}")

    # Roles -------------------------------------------------------------------------------------

    def promote(self) -> None:
        """Make a replica a primary, as a failover manager does: it takes writes then."""
        self.sql(f"STOP {self._replica}", database="")
        self.sql(f"RESET {self._replica} ALL", database="")
        self.sql("SET GLOBAL read_only = OFF", database="")
        self.upstream = None

    def stop_writes(self) -> None:
        """Make a primary read-only, as before a switch of roles; return when it takes no writes.

        ``SET GLOBAL read_only`` waits for the transactions of all clients, also of those that the
        network has cut off, and holds up all that commits meanwhile. So clients are ended first,
        the wait is bounded, and those that have come meanwhile are ended again.
        """
        clients = f"SELECT id AS one FROM information_schema.processlist WHERE user = '{ACCOUNT}'"

        def read_only() -> bool:
            for row in self.sql(clients, database=""):
                with suppress(pymysql.MySQLError):  # it has gone by itself
                    self.sql(f"KILL {row['one']}", database="")
            try:
                self.sql("SET SESSION lock_wait_timeout = 1, GLOBAL read_only = ON", database="")
            except pymysql.MySQLError as error:
                if error.args[0] != _WAITED:
                    raise
                return False
            return True

        self.wait(read_only, "does not become read-only")

    def rejoin(self, primary: "Server") -> None:
        """Make it anew as a replica of a server; return when it has caught up.

        What it has and the primary has not is lost. MySQL keeps its UUID, as an administrator who
        copies the primary's files over its own often does: it will use lost numbers again.
        """
        if self.is_running:
            self.kill()
        identity = self.data / "auto.cnf"
        kept = identity.read_bytes() if identity.exists() else None
        shutil.rmtree(self.data)
        shutil.copytree(self._template, self.data)
        if kept is not None:
            identity.write_bytes(kept)
        self.number += 10  # it would leave out what it has written itself
        self.upstream = None
        self.start()
        self.follow(primary)
        self.caught_up(primary)

    def heal(self) -> None:
        """Undo every fault: it runs, and a replica receives and applies."""
        self.thaw()
        if not self.is_running:
            self.start()
        self._go_on()

    # Semi-synchronous replication --------------------------------------------------------------

    def await_replicas(self, *, seconds: float, shown: bool = False) -> None:
        """Have each commit wait for a replica of this server that acknowledges it (`acknowledge`).

        Args:
            seconds: after which it waits no longer; 0 ends it.
            shown: whether the server shows a commit that waits.
        """
        word = "master" if self.is_mariadb else "source"
        if not self.is_mariadb:
            self._install("rpl_semi_sync_source", "semisync_source.so")
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_timeout = {round(seconds * 1000)}", database="")
        point = "AFTER_COMMIT" if shown else "AFTER_SYNC"
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_wait_point = {point}", database="")
        self.sql(
            f"SET GLOBAL rpl_semi_sync_{word}_enabled = {'ON' if seconds else 'OFF'}", database=""
        )

    def acknowledge(self) -> None:
        """Have a replica acknowledge what it receives."""
        word = "slave" if self.is_mariadb else "replica"
        if not self.is_mariadb:
            self._install("rpl_semi_sync_replica", "semisync_replica.so")
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_enabled = ON", database="")
        self.sql(f"STOP {self._replica} IO_THREAD", database="")
        self._go_on()

    def _install(self, plugin: str, library: str) -> None:
        if not self.sql(
            f"SELECT 1 AS one FROM information_schema.plugins WHERE plugin_name = '{plugin}'",
            database="",
        ):
            self.sql("SET GLOBAL super_read_only = OFF", database="")
            self.sql(f"INSTALL PLUGIN {plugin} SONAME '{library}'", database="")

    # -------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], failure: str) -> None:
        """Return when the condition holds.

        Args:
            condition: asked again and again.
            failure: what is wrong if it does not come to hold.

        Raises:
            RuntimeError: it does not, for half a minute.
        """
        end = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} {failure}: {self._last_words()}")
            time.sleep(_POLL)

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
