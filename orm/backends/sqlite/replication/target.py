"""The current file of a replica, as its only writer sees it."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from orm.backends.sqlite.replication.files import Identity, connect, identity, stat
from orm.backends.sqlite.replication.incarnations import incarnation, new_file, remove, turn_to
from orm.backends.sqlite.replication.position import Position, read_position
from orm.backends.sqlite.replication.source import Source

_STEP: Final = 16 << 20
"""Bytes copied between two looks at whether to go on."""
_KEPT_WAL: Final = 32 << 20
"""Bytes of WAL to write before the pages go to the database file, unless it is larger."""
_MOST_WAL: Final = 64 << 20
"""The same, when a reader keeps them from going there; or eight times the database."""
_IDLE: Final = 0.1
"""Seconds without news after which they go there anyway."""

Progress = Callable[[int, int, int], object]


class _Trace(NamedTuple):
    """What the file system says of a replica; it must say the same until the next pass."""

    database: Identity | None
    wal: Identity | None
    shm: Identity | None
    state: tuple[int, ...]


class Target:
    """An incarnation of a replica, opened to be written."""

    def __init__(self, replica: Path, file: Path) -> None:
        """Open it.

        Args:
            replica: The name that readers use.
            file: The file to which it leads, or shall lead.

        Raises:
            sqlite3.Error: It is missing or damaged.
        """
        self._replica = replica
        self.file = file
        self._connection = connect(file, "rw", timeout=1.0)
        try:
            for pragma in (
                "journal_mode = WAL",
                "synchronous = NORMAL",  # never torn; the last passes can be made again
                "wal_autocheckpoint = 0",  # it would block readers that wait
                f"journal_size_limit = {_KEPT_WAL}",
                "cache_size = -16384",  # spares small databases reading what is overwritten
            ):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            self.position: Position | None = read_position(self._connection)
            # From now on it waits for no reader.
            self._connection.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            self._connection.close()
            raise
        self._tidy = False
        self._quiet_since = time.monotonic()
        self._trace = self._look(file)

    def intact(self) -> bool:
        """Whether the replica is as the last pass left it."""
        return self._look(self._replica) == self._trace

    def copy(self, source: Source, position: Position | None, progress: Progress) -> None:
        """Copy the source's snapshot into it, in one transaction.

        Raises:
            sqlite3.Error: It stays as it was.
        """
        copy(source, self._connection, progress)
        self.position = position
        self._tidy = False
        self._quiet_since = time.monotonic()
        self._remember()

    def tidy(self) -> bool:
        """Move pages from the WAL to the database file when it is time, never waiting for readers.

        Returns:
            Whether there was anything to do.
        """
        if self._tidy:
            return False
        idle = time.monotonic() - self._quiet_since >= _IDLE
        if not idle and self._wal_bytes() <= max(self._bytes(), _KEPT_WAL):
            return False
        query = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        busy, written, moved = query.fetchone()
        self._tidy = not busy and written == moved
        self._quiet_since = time.monotonic()  # for the next attempt, if a reader was in the way
        self._remember()
        return True

    def overgrown(self) -> bool:
        """Whether the WAL is too large for another pass, because a reader keeps an old state open.

        The next pass would then be written behind the last instead of over it. A checkpoint that
        asks for the whole WAL is tried only here, since it keeps new readers out for its time.
        """
        most = max(8 * self._bytes(), _MOST_WAL)
        if self._wal_bytes() <= most:
            return False
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._remember()
        return self._wal_bytes() > most

    def close(self) -> None:
        """Close it; the files stay."""
        self._connection.close()

    def _bytes(self) -> int:
        return os.stat(self.file).st_size

    def _wal_bytes(self) -> int:
        return os.stat(f"{self.file}-wal").st_size

    def _look(self, database: Path) -> _Trace:
        # Readers write to the -shm all the time, so only its being there counts.
        found, wal = stat(database), stat(f"{self.file}-wal")
        shm = identity(f"{self.file}-shm")
        return _Trace(
            database=(found.st_dev, found.st_ino) if found else None,
            wal=(wal.st_dev, wal.st_ino) if wal else None,
            shm=shm,
            state=tuple(n for s in (found, wal) if s for n in (s.st_size, s.st_mtime_ns)),
        )

    def _remember(self) -> None:
        # Which files they are was settled when they were opened: were one of them replaced since,
        # the next look has to tell.
        self._trace = self._trace._replace(state=self._look(self._replica).state)


def adopt(replica: Path) -> Target | None:
    """Open the file that a replica's name leads to, to go on with it.

    Returns:
        ``None`` when there is nothing to go on with; a new file costs one pass.
    """
    name = incarnation(replica)
    if name is None:
        return None
    try:
        return Target(replica, replica.with_name(name))
    except sqlite3.Error:
        return None


def seed(replica: Path, source: Source, progress: Progress) -> Target:
    """Make a new file from the source's snapshot, and let the replica's name lead to it.

    Raises:
        OSError, sqlite3.Error: The replica stays as it was.
    """
    file = new_file(replica, os.stat(source.file))
    try:
        # Outside WAL mode a new file is written once, and synced. The copy of a WAL database says
        # of itself that it is one.
        with closing(connect(file, "rw")) as connection:
            copy(source, connection, progress)
        target = Target(replica, file)
        try:
            turn_to(replica, file)  # when its WAL is there, for readers' sake
        except BaseException:
            target.close()
            raise
    except BaseException:
        remove(file)
        raise
    return target


def copy(source: Source, target: sqlite3.Connection, progress: Progress) -> None:
    """Copy the source's snapshot over a database, in one transaction."""
    # The source is in a transaction of ours: the steps read one state, and never start over.
    source.connection.backup(
        target, pages=max(1, _STEP // source.page_size), progress=progress, sleep=0.01
    )
