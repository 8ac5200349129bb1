"""The files that a replica's name has led to, one after the other.

SQLite finds the ``-wal`` and ``-shm`` of a database by name, and does so at the first read, not
when it opens the database. If a new database were moved over the name of an old one, a connection
that has opened the old one a moment before could go on with the WAL of the new one, and read half
of each; no order of unlinking and renaming closes that gap. So no name is ever used twice. Each new
file, an *incarnation* of the replica, has a name of its own. The replica's name is a symbolic link,
which one rename turns to the new file. SQLite resolves a link before it opens the database, so
every connection has the WAL that belongs to its file. A crash after any step leaves at most a file
that no link leads to.
"""

import contextlib
import os
import re
import secrets
import sqlite3
from pathlib import Path

from orm.backends.sqlite.replication.files import connect, create_like

_BESIDE = ("-wal", "-shm", "-journal")


def incarnation(replica: Path) -> str | None:
    """The name of the file that a replica's name leads to now.

    It is unique for ever (an inode number is not), so it is the key under which to keep what is
    known of a replica: one incarnation only moves forward. A connection tells which one it has
    open by the file name in ``PRAGMA database_list``.

    Args:
        replica: The replica's path.

    Returns:
        A file name in the same directory; ``None`` when there is no replica.
    """
    try:
        name = os.readlink(replica)
    except OSError:
        return None
    return name if _names(replica).fullmatch(name) else None


def new_file(replica: Path, model: os.stat_result) -> Path:
    """An empty file that is to become the next incarnation, private to us until then."""
    file = replica.with_name(f"{replica.name}.{secrets.token_hex(8)}")
    create_like(file, model)
    return file


def turn_to(replica: Path, file: Path) -> None:
    """Let the replica's name lead to a file, for all connections that open it from now on."""
    link = file.with_name(f"{file.name}-link")
    os.symlink(file.name, link)
    os.replace(link, replica)
    for suffix in _BESIDE:  # an ordinary database of this name may have left them
        replica.with_name(replica.name + suffix).unlink(missing_ok=True)


def sweep(replica: Path) -> bool:
    """Remove former incarnations and what interrupted work left; for the lock's holder only.

    Returns:
        Whether all are gone; one that a reader still has open stays until a later sweep.
    """
    pattern = _names(replica)
    found = {m[0] for name in os.listdir(replica.parent) if (m := pattern.match(name))}
    former = found - {incarnation(replica)}
    kept = [name for name in former if not _retire(replica.with_name(name))]
    return not kept


def remove(file: Path) -> None:
    """Remove a database that no other process has open."""
    for suffix in ("", *_BESIDE, "-link"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _retire(file: Path) -> bool:
    # Leaving WAL mode takes SQLite's exclusive lock, so it proves that no connection reads, and it
    # makes the file complete in itself, for a connection that has opened it but not read yet.
    try:
        with contextlib.closing(connect(file, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.DatabaseError as error:  # any other than "busy": there is nothing to save
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
    remove(file)
    return True


def _names(replica: Path) -> re.Pattern[str]:
    return re.compile(re.escape(replica.name) + r"\.[0-9a-f]{16}")
