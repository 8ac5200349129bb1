"""Positions are counted in a one-row table, inside each writing transaction.

The count travels to every copy of the file together with the data, so a replica's position is
exact in whatever snapshot a reader has of it, however the copy is made.
"""

import logging
import sqlite3
import time
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, text
from sqlalchemy.exc import OperationalError

from orm.backends.sqlite.driver import code, in_one_hop
from orm.backends.sqlite.files import file_of, identity
from orm.bookmark import Bookmark

__all__ = [
    "committed",
    "note_changes",
    "position",
    "prepare",
    "raise_if_ended",
    "raise_position",
    "seen",
]

_CREATE: Final = """\
CREATE TABLE IF NOT EXISTS orm_position (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    file VARCHAR NOT NULL,
    history VARCHAR(32) NOT NULL,
    sequence INTEGER NOT NULL,
    schema_version INTEGER NOT NULL
)"""
_FIRST_ROW: Final = """\
INSERT INTO orm_position (id, file, history, sequence, schema_version)
SELECT 1, '', '', 0, -1 WHERE NOT EXISTS (SELECT 1 FROM orm_position)"""
# A copy or a restored backup is another file, which counts on from where it was copied: without a
# history of its own its later commits would be taken for those that the copy does not have.
_NEW_HISTORY: Final = """\
UPDATE orm_position SET file = :file, history = lower(hex(randomblob(16))) WHERE file <> :file"""
_HISTORY: Final = "SELECT history FROM orm_position"
_POSITION: Final = "SELECT history, sequence FROM orm_position"
# Milliseconds since 1970 are more than any count of commits can be: no position lies after it.
_GO_ON: Final = """\
UPDATE orm_position SET history = :history, sequence = :now"""
# sqlite3_total_changes() does not count DDL; the schema cookie does (SQLite "PRAGMA
# schema_version"), and kept in the row it also finds DDL that another program committed before.
_RAISE_POSITION: Final = """\
UPDATE orm_position
SET sequence = sequence + 1, schema_version = (SELECT schema_version FROM pragma_schema_version)
WHERE ? OR schema_version <> (SELECT schema_version FROM pragma_schema_version)
RETURNING history, sequence"""

_LOG: Final = logging.getLogger(__name__)
_histories: Final = WeakKeyDictionary[Pool, tuple[str | None, str]]()
"""The file and the history that were prepared, so that the table can be made anew."""
_CHANGES: Final = "orm.sqlite.changes"
_COMMITTED: Final = "orm.sqlite.committed"


def prepare(connection: Connection) -> None:
    """Make the table, and begin a new history if this is not the file that counted last."""
    connection.execute(text(_CREATE))
    connection.execute(text(_FIRST_ROW))
    file = identity(file_of(connection))
    connection.execute(text(_NEW_HISTORY), {"file": file})
    _histories[connection.engine.pool] = (file, str(connection.scalar(text(_HISTORY))))


def position(connection: Connection) -> Bookmark | None:
    """Where the snapshot is that the connection reads; None if nothing was ever prepared."""
    try:
        row = connection.execute(text(_POSITION)).one_or_none()
    except OperationalError as error:
        if code(error) == sqlite3.SQLITE_ERROR:  # no such table: never prepared
            return None
        raise
    return None if row is None else Bookmark.at(row.history, row.sequence)


def seen(connection: Connection) -> Bookmark | None:
    """Nothing that was read or committed here lies after this; None as for `position`."""
    raise_if_ended(connection)
    return position(connection)


def committed(connection: Connection) -> Bookmark | None:
    """The position of the last commit, told once; None if it wrote nothing."""
    committed: Bookmark | None = connection.info.pop(_COMMITTED, None)
    return committed


def note_changes(connection: Connection) -> None:
    """To be called when a transaction has begun."""
    driver = connection.connection.driver_connection
    connection.info.pop(_COMMITTED, None)
    connection.info[_CHANGES] = driver.total_changes  # type: ignore[union-attr]


def raise_position(connection: Connection) -> None:
    """To be called when a transaction is about to be committed."""
    driver: Any = connection.connection.driver_connection
    changed = driver.total_changes != connection.info[_CHANGES]
    for history, sequence in _raised(connection, changed=changed):
        connection.info[_COMMITTED] = Bookmark.at(history, sequence)
    connection.info[_CHANGES] = driver.total_changes


def _raised(connection: Connection, *, changed: bool) -> Any:
    """The new position; begins a new history where another program has taken the table away."""
    try:
        rows = in_one_hop(connection, _RAISE_POSITION, (changed,))
        if rows or not changed:
            return rows
    except OperationalError as error:
        if not _is_gone(error):
            raise
    _LOG.error(
        "the table orm_position of %s was gone or empty: another program has taken it away, a "
        "migration perhaps. This commit makes it anew; a replica serves when it has this commit",
        file_of(connection),
    )
    pool = connection.engine.pool
    before = _histories.get(pool)
    prepare(connection)
    if before is not None and before[0] == _histories[pool][0]:  # it is the same file
        _histories[pool] = before
        go_on = {"history": before[1], "now": time.time_ns() // 1_000_000}
        connection.execute(text(_GO_ON), go_on)
    return in_one_hop(connection, _RAISE_POSITION, (True,))


def _is_gone(error: OperationalError) -> bool:
    return "no such table: orm_position" in str(error.orig)


def raise_if_ended(connection: Connection) -> None:
    """To be called when a transaction is about to be rolled back, or its position is asked for.

    It may have been committed already, by a COMMIT in text or by the driver's own means: what it
    wrote has no position yet.
    """
    if connection.invalidated:
        return  # SQLAlchemy has no driver's connection any more
    driver: Any = connection.connection.driver_connection
    if _CHANGES in connection.info and not driver.in_transaction:
        # Or SQLite has rolled it back, because the disk is full, say: then this fails as well.
        with suppress(OperationalError):
            raise_position(connection)
