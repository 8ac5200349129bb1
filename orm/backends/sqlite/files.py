"""Which file a SQLite database is."""

import os
from pathlib import Path

from sqlalchemy import URL, Connection

from orm.exceptions import ConfigurationError

__all__ = ["file_at", "file_of", "identity"]


def file_at(url: URL) -> Path:
    """The database file, absolute."""
    if url.drivername != "sqlite+aiosqlite":
        raise ConfigurationError(
            f"{url.drivername!r} has no async driver: use sqlite+aiosqlite:///path/to/file"
        )
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError(
            "an embedded database is a file that several connections share: "
            "give a plain path, as in sqlite+aiosqlite:///app.db"
        )
    return Path(url.database).absolute()


def file_of(connection: Connection) -> Path:
    """The file that a connection is to, absolute."""
    # Of `migration_engine`'s connections too, whose driver is another one.
    return file_at(connection.engine.url.set(drivername="sqlite+aiosqlite"))


def identity(file: Path) -> str | None:
    """Which file a path leads to; None if there is none.

    An embedded replica is a link to files whose names are never used again, where an inode's
    number would be.
    """
    # Only ever look: opening and closing a database file drops this process's POSIX locks on it
    # (SQLite "How To Corrupt An SQLite Database File", 2.2).
    try:
        return os.readlink(file)
    except FileNotFoundError:
        return None
    except OSError:  # no link
        status = os.stat(file)
        return f"{status.st_dev}-{status.st_ino}"
