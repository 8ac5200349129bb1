"""One server of MariaDB or MySQL: its replication, its role, and its troubles."""

from contextlib import suppress
from typing import Final, Literal

import pymysql

from orm.testing.mysql.node import ACCOUNT, PATIENCE, Node

__all__ = ["REPLICATOR", "Server"]

REPLICATOR: Final = "replicator"

_WAITED: Final = 1205  # for a lock, in vain


class Server(Node):
    """A primary or a replica; promotion turns the one into the other."""

    upstream: "Server | None" = None
    """The server that it follows; None for a primary."""

    @property
    def is_read_only(self) -> bool:
        """Whether it follows another server."""
        return self.upstream is not None

    def start(self) -> None:
        """Start it; return when it answers, and a replica follows its primary.

        Raises:
            RuntimeError: it ended at once; with what it said last.
        """
        super().start()
        self._go_on()

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
            question = f"SELECT MASTER_GTID_WAIT('{row['at']}', {PATIENCE}) AS late"
        else:
            [row] = primary.sql("SELECT @@global.gtid_executed AS at", database="")
            at = row["at"].replace("\n", "")
            question = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{at}', {PATIENCE}) AS late"
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
        self._renew()
        self.upstream = None
        self.start()
        self.follow(primary)
        self.caught_up(primary)

    def heal(self) -> None:
        """Undo every fault: it runs, a replica receives and applies, a primary takes writes."""
        self.thaw()
        if not self.is_running:
            self.start()
        if not self.is_read_only:
            self.sql("SET GLOBAL read_only = OFF", database="")
            self._await_none()
        self._go_on()

    # Semi-synchronous replication --------------------------------------------------------------

    def await_replicas(self, *, seconds: float, shown: bool = False) -> None:
        """Have each commit wait for a replica of this server that acknowledges it (`acknowledge`).

        Args:
            seconds: after which it waits no longer; 0 ends it.
            shown: whether the server shows a commit that waits.
        """
        if not seconds:
            self._await_none()
            return
        word = "master" if self.is_mariadb else "source"
        if not self.is_mariadb:
            self._install("rpl_semi_sync_source", "semisync_source.so")
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_timeout = {round(seconds * 1000)}", database="")
        point = "AFTER_COMMIT" if shown else "AFTER_SYNC"
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_wait_point = {point}", database="")
        self.sql(f"SET GLOBAL rpl_semi_sync_{word}_enabled = ON", database="")

    def _await_none(self) -> None:
        word = "master" if self.is_mariadb else "source"  # MySQL's is there once it was installed
        enabled = f"rpl_semi_sync_{word}_enabled"
        if self.sql(f"SHOW GLOBAL VARIABLES LIKE '{enabled}'", database=""):
            self.sql(f"SET GLOBAL {enabled} = OFF", database="")

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
