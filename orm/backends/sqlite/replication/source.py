"""The database that is copied."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orm.backends.sqlite.replication.errors import ReplicationError, explained
from orm.backends.sqlite.replication.files import Identity, connect, identity, stat
from orm.backends.sqlite.replication.position import Position, read_position


def require(file: Path) -> Identity:
    """The identity of the source's file.

    Raises:
        ReplicationError: It is missing.
    """
    found = identity(file)
    if found is None:
        raise ReplicationError(f"the source {file} is missing: create it, or restore it")
    return found


class Source:
    """A look at the source that can change nothing in it."""

    def __init__(self, file: Path) -> None:
        """Open it.

        Raises:
            ReplicationError: It is missing, no database, or one whose readers block its writers.
        """
        self.file = file
        self._identity = require(file)
        with explained(f"the source {file} cannot be read"), ExitStack() as undo:
            # Read-only mode could not write the -shm that all readers of a WAL database share.
            self.connection: sqlite3.Connection = connect(file, "rw", timeout=0.25)
            undo.callback(self.connection.close)
            self.connection.execute("PRAGMA query_only = ON")
            # The next commit of another connection makes every cached page void.
            self.connection.execute("PRAGMA cache_size = -256")
            (mode,) = self.connection.execute("PRAGMA journal_mode").fetchone()
            self.page_size: int = self.connection.execute("PRAGMA page_size").fetchone()[0]
            if mode != "wal":
                raise ReplicationError(
                    f"the source {file} is in journal mode {mode!r}, where reading a copy would "
                    "block its writers: run PRAGMA journal_mode = WAL on it once"
                )
            if self.replaced():
                raise ReplicationError(f"the source {file} was replaced while it was being opened")
            undo.pop_all()

    def replaced(self) -> bool:
        """Whether the name leads to another file by now, or to none."""
        return identity(self.file) != self._identity

    def version(self) -> int:
        """A number that changes with each commit of others (SQLite "PRAGMA data_version")."""
        version: int
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return version

    def position(self) -> Position | None:
        """The position of the source, or of the open snapshot."""
        return read_position(self.connection)

    @contextmanager
    def snapshot(self) -> Iterator[int]:
        """Read one state, while other connections commit; yields its version."""
        self.connection.execute("BEGIN")
        try:
            yield self.version()
        finally:
            self.connection.rollback()

    def wal_bytes(self) -> int:
        """The size of its WAL."""
        wal = stat(f"{self.file.resolve()}-wal")
        return 0 if wal is None else wal.st_size

    def close(self) -> None:
        """Close it; the files stay."""
        self.connection.close()
