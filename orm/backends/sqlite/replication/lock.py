"""One replicator for one replica, across processes."""

import contextlib
import sqlite3
from pathlib import Path

from orm.backends.sqlite.replication.files import Identity, connect, create_like, identity, stat


class Lock:
    """A lock that the system frees when its holder dies.

    It is the write lock of an empty SQLite database beside the replica: portable, and free of
    the trap of home-made POSIX locks, which the closing of any descriptor of the file lets go.
    Nothing is ever written to it, so nothing is left to recover.
    """

    def __init__(self, file: Path, model: Path) -> None:
        """Name it; nothing is opened yet.

        Args:
            file: The lock file, made when it is missing.
            model: Whose owner and mode it gets.
        """
        self._file = file
        self._model = model
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    @property
    def held(self) -> bool:
        """Whether it was held when last looked at."""
        return self._connection is not None

    def acquire(self) -> bool:
        """Take the lock, or make sure that it is still held.

        Returns:
            Whether it is held now; never waits.

        Raises:
            OSError, sqlite3.Error: The lock file cannot be made or opened.
        """
        if self._connection is not None:
            if identity(self._file) == self._identity:
                return True
            self.release()  # the file was removed: the lock keeps no other process out any more
        model = stat(self._model)
        if model is not None:
            with contextlib.suppress(FileExistsError):
                create_like(self._file, model)
        connection = connect(self._file, "rw")
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise
        self._connection = connection
        self._identity = identity(self._file)
        return True

    def release(self) -> None:
        """Let go of it, if it is held."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
