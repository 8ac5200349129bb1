"""Opening SQLite files, and looking at them without opening them.

POSIX locks belong to the process: closing any descriptor of a file drops all locks that the
process holds on it ("How To Corrupt An SQLite Database File", section 2.2). So database files are
opened by SQLite alone, and everything else that is to be known of them comes from ``os.stat``.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeAlias

Identity: TypeAlias = tuple[int, int]
"""Device and inode: which file, whatever its name."""


def connect(file: Path, mode: Literal["ro", "rw"], *, timeout: float = 0.0) -> sqlite3.Connection:
    """Open an existing database; it is never created.

    Args:
        file: An absolute path; any characters.
        mode: ``"ro"`` to read, ``"rw"`` to write as well.
        timeout: Seconds to wait for a lock.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    uri = f"{file.as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


def readable(file: Path) -> bool:
    """Whether a file is there and a database."""
    try:
        with closing(connect(file, "ro", timeout=0.25)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        return False
    return True


def stat(path: str | Path) -> os.stat_result | None:
    """What the file system knows of a file; ``None`` when there is none."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def identity(path: str | Path) -> Identity | None:
    """Which file a name leads to; ``None`` when there is none."""
    found = stat(path)
    return None if found is None else (found.st_dev, found.st_ino)


def create_like(file: Path, model: os.stat_result) -> None:
    """Create an empty file with the mode, and under root the owner, of another.

    A replica tells what its source tells, so it must not be readable by more people; and a
    process of the source's owner must be able to go on where one of root has begun. SQLite does
    the same for the ``-wal`` and ``-shm`` beside a database.

    Raises:
        OSError: It exists, or cannot be made.
    """
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, model.st_uid, model.st_gid)
        os.fchmod(descriptor, (model.st_mode & 0o666) | 0o600)
    finally:
        os.close(descriptor)
