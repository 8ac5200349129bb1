"""A copy of a SQLite database beside it, to go back to."""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from glob import escape
from pathlib import Path
from typing import Final

from orm.backends.sqlite.schema import quoted
from orm.exceptions import MigrationError

__all__ = ["KEPT", "restore_points", "snapshot"]

KEPT: Final = 3
"""Snapshots of one database that stay; older ones are deleted when one is made."""
_TICK: Final = 1_000_000
"""Nanoseconds by which the times of two copies differ at least."""


def snapshot(file: Path, name: str, without: AbstractSet[str]) -> Path | None:
    """Copy the last committed state of a database, while others may write to it.

    Args:
        file: the database. It is never opened but by SQLite, whose locks of this process would
            otherwise be gone (SQLite "How To Corrupt An SQLite Database File", 2.2).
        name: goes into the name of the copy, ``app.before-{name}.db``, which replaces an older one
            of that name.
        without: tables whose rows do not count as data.

    Returns:
        The copy; None if there is no database, or no data in it.

    Raises:
        MigrationError: it could not be made, for want of space perhaps; nothing was changed.
    """
    if not file.exists():
        return None
    target = file.with_name(f"{file.stem}.before-{name}{file.suffix}")
    unfinished = target.with_name(f"{target.name}-{os.getpid()}")
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as source:
            source.execute("PRAGMA query_only = ON")
            if not _has_data(source, without):
                return None
            _refuse_if_no_space(source, file)
            try:
                _copy(source, unfinished, file.stat().st_mode)
                _make_newest(unfinished, restore_points(file))
                os.replace(unfinished, target)
            finally:
                for ending in ("", "-journal"):
                    Path(f"{unfinished}{ending}").unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise MigrationError(
            f"no restore point could be made at {target}, so nothing was changed: {error}"
        ) from error
    for old in [other for other in restore_points(file) if other != target][KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return target


def restore_points(file: Path) -> list[Path]:
    """The copies of a database that lie beside it, the newest one first."""
    found = file.parent.glob(f"{escape(file.stem)}.before-*{escape(file.suffix)}")
    return sorted(found, key=lambda copy: (copy.stat().st_mtime_ns, copy.name), reverse=True)


def _make_newest(copy: Path, others: Sequence[Path]) -> None:
    """Have a copy be newer than others, which may be of the same tick of the clock."""
    if others and copy.stat().st_mtime_ns <= (newest := others[0].stat().st_mtime_ns):
        os.utime(copy, ns=(newest + _TICK, newest + _TICK))


def _has_data(connection: sqlite3.Connection, without: AbstractSet[str]) -> bool:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
        " ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL %'"
    ).fetchall()
    return any(
        connection.execute(f"SELECT EXISTS (SELECT 1 FROM {quoted(table)})").fetchone()[0]
        for (table,) in tables
        if table not in without
    )


def _refuse_if_no_space(connection: sqlite3.Connection, file: Path) -> None:
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    [size] = connection.execute("PRAGMA page_size").fetchone()
    free = shutil.disk_usage(file.parent).free
    if free < pages * size:
        raise OSError(f"it takes {pages * size:,} bytes, and {free:,} are free in {file.parent}")


def _copy(source: sqlite3.Connection, target: Path, mode: int) -> None:
    # Made first, with the database's mode: an account that may not read that may not read this.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode & 0o777))
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy)  # all pages in one step: one state, which no write restarts
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        has_position = copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'orm_position'")
        if has_position.fetchone():
            # Whatever file it is restored to, a new history begins there (`orm.backends.sqlite`).
            copy.execute("UPDATE orm_position SET file = ''")
            copy.commit()
