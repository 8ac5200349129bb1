"""The faults of a server, and how it recovers."""

import os
from pathlib import Path
from typing import Final

from orm.backends.postgresql import programs
from orm.testing.postgresql.node import Node

__all__ = ["Server"]

_NOWHERE: Final = "host=/nowhere"
_CONFLICT_DELAY: Final = "max_standby_streaming_delay"


class Server(Node):
    """A primary or a standby; promotion turns the one into the other."""

    upstream: "Server | None" = None
    """The server that it follows as a standby."""

    def clone(self, source: Node) -> None:
        """Make the files of a standby of another server."""
        programs.run(
            self.programs / "pg_basebackup",
            *("-d", source.conninfo, "-D", self.data, "-X", "stream", "-c", "fast"),
            *("--no-sync", "--no-manifest"),
        )

    # The stream --------------------------------------------------------------------------------

    @property
    def is_standby(self) -> bool:
        """What the server itself says."""
        return self.sql("SELECT pg_is_in_recovery()") == ["t"]

    def stand_by(self, primary: "Server") -> None:
        """Have its files be those of a standby, from the next start on."""
        signal = self.data / "standby.signal"
        signal.touch()
        if owner := programs.ownership():
            os.chown(signal, owner["user"], owner["group"])
        self.upstream = primary
        self.configure(f"primary_conninfo = '{self._address(primary)}'")

    def follow(self, primary: "Server") -> None:
        """Have a standby stream from a server; return when it does."""
        self.upstream = primary
        self.set("primary_conninfo", self._address(primary))
        self.wait(self.streams, f"does not follow {primary.name}")

    def _address(self, primary: "Server") -> str:
        return f"{primary.conninfo} application_name={self.name}"

    def streams(self) -> bool:
        """Whether a standby is connected to the server that it follows, and to no earlier one."""
        port = self.upstream.port if self.upstream else 0
        asked = f"WHERE status = 'streaming' AND sender_port = {port}"
        return self.sql(f"SELECT 1 FROM pg_stat_wal_receiver {asked}") == ["1"]

    def partition(self) -> None:
        """Cut a standby off from the server that it follows; return when it receives nothing."""
        self.set("primary_conninfo", _NOWHERE)
        # One that is told to end may still take in what has arrived.
        asked = "WHERE status NOT IN ('starting', 'connecting')"
        receives = f"SELECT 1 FROM pg_stat_wal_receiver {asked}"
        self.wait(lambda: self.sql(receives) == [], "still streams")

    def black_hole(self) -> None:
        """Have nothing arrive at a standby, though its connection stays open, until `thaw`."""
        self._suspend([self._child("walreceiver")])

    def caught_up(self, primary: Node) -> None:
        """Return when the standby shows all that the other server has committed by now."""
        [lsn] = primary.sql("SELECT pg_current_wal_flush_lsn()")
        self.wait(
            lambda: self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == ["t"],
            f"does not catch up with {primary.name}",
        )

    # Replay ------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Have a standby receive, and replay nothing."""
        self.sql("SELECT pg_wal_replay_pause()")
        self.wait(lambda: self._pause_state() == "paused", "does not pause")

    def resume(self) -> None:
        """Have a standby go on replaying."""
        self.sql("SELECT pg_wal_replay_resume()")
        self.wait(lambda: self._pause_state() == "not paused", "does not go on")

    def _pause_state(self) -> str:
        return self.sql("SELECT pg_get_wal_replay_pause_state()")[0]

    def delay(self, seconds: float) -> None:
        """Have a standby replay each commit that long after it was made.

        Args:
            seconds: to the millisecond; 0 ends it.
        """
        self.set("recovery_min_apply_delay", str(round(seconds * 1000)))

    def stall_replay(self) -> None:
        """Have a standby receive and replay nothing, and not know that it does, until `thaw`."""
        self._suspend([self._child("startup")])

    def conflict(self, *, database: str | None = None) -> None:
        """Have a standby end transactions with older snapshots, as replaying a VACUUM does.

        A transaction that is in a statement gets 40001; one that is idle loses its connection. An
        older open transaction on the primary prevents it: then nothing happens.

        Args:
            database: where; a conflict is with the snapshots of one database.

        Raises:
            RuntimeError: it follows no server.
        """
        primary = self.upstream
        if primary is None:
            raise RuntimeError(f"{self.name} follows no server")
        before = self.setting(_CONFLICT_DELAY)
        self.set(_CONFLICT_DELAY, "0")
        for statement in (
            "CREATE TABLE conflict_of_recovery AS SELECT 1 AS n",
            "DELETE FROM conflict_of_recovery",
            "VACUUM conflict_of_recovery",
            "DROP TABLE conflict_of_recovery",
        ):
            primary.sql(statement, database=database)
        self.caught_up(primary)
        self.set(_CONFLICT_DELAY, before)

    # Roles -------------------------------------------------------------------------------------

    def promote(self) -> None:
        """Make a standby a primary, of a new timeline; return when it takes writes."""
        self.sql("SELECT pg_promote(true, 30)")
        self.wait(lambda: not self.is_standby, "is not promoted")
        self.upstream = None

    def rejoin(self, primary: "Server") -> None:
        """Make a server that went its own way a standby again; return when it has caught up.

        What it has and the primary has not is lost (``pg_rewind``).
        """
        if self.is_running:
            self.stop()
        settings = (self.data / "postgresql.conf").read_text()
        # Before PostgreSQL 16 `pg_rewind` takes a server that was just promoted to be on the
        # timeline of its last checkpoint, and rewinds nothing.
        primary.sql("CHECKPOINT")
        programs.run(
            self.programs / "pg_rewind",
            *("-D", self.data, "--source-server", f"{primary.conninfo} dbname=postgres"),
            "--no-sync",
        )
        # It answers once it has replayed what the other server had begun to write by now, which
        # is flushed with the next commit there.
        primary.sql("SELECT pg_logical_emit_message(true, 'rejoin', '')")
        (self.data / "postgresql.conf").write_text(settings)  # it was the other server's
        self.stand_by(primary)
        self.start()
        self.wait(self.streams, f"does not follow {primary.name}")
        # Stopped before that, it might have of the new timeline only the beginning of a segment,
        # which ends before the fork, and with which PostgreSQL does not start again.
        self.caught_up(primary)

    def heal(self) -> None:
        """Undo every fault: it runs, and a standby replays what it is sent without delay."""
        self.thaw()
        if not self.is_running:
            self.start()
        if self.upstream is not None and self.is_standby:
            self.resume()
            self.delay(0)
            self.follow(self.upstream)

    def _child(self, title: str) -> int:
        """The process of that name; one that has just ended is started again."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = (child for child in self._children() if title in _title(child).split())
            return bool(found)

        self.wait(is_there, f"has no process {title}")
        return found[0]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended by itself
