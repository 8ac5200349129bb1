"""Positions are counted in a one-row table, inside each writing transaction.

The count travels to every copy of the file together with the data, so a replica's position is
exact in whatever snapshot a reader has of it, however the copy is made.
"""

import sqlite3
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from orm.backends.sqlite.driver import Statements, at_commit, code, in_one_hop
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
_POSITION: Final = "SELECT history, sequence FROM orm_position"
# sqlite3_total_changes() does not count DDL; the schema cookie does (SQLite "PRAGMA
# schema_version"), and kept in the row it also finds DDL that another program committed before.
_RAISE_POSITION: Final = """\
UPDATE orm_position
SET sequence = sequence + 1, schema_version = (SELECT schema_version FROM pragma_schema_version)
WHERE ? OR schema_version <> (SELECT schema_version FROM pragma_schema_version)"""
# RETURNING would do, but SQLite compiles such a statement again whenever it is executed.
_RAISED_TO: Final = f"{_POSITION} WHERE changes() > 0"

_CHANGES: Final = "orm.sqlite.changes"
_RAISED: Final = "orm.sqlite.raised"
"""The positions that it was raised to since; raising it changes one row."""


def prepare(connection: Connection) -> None:
    """Make the table, and begin a new history if this is not the file that counted last."""
    connection.execute(text(_CREATE))
    connection.execute(text(_FIRST_ROW))
    connection.execute(text(_NEW_HISTORY), {"file": identity(file_of(connection))})


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
    info = connection.info
    raised = info.get(_RAISED)
    if not raised:
        return None
    info[_CHANGES] += len(raised)
    info[_RAISED] = []
    return Bookmark.at(*raised[-1])


def note_changes(connection: Connection) -> None:
    """To be called when a transaction has begun."""
    driver: Any = connection.connection.driver_connection
    connection.info[_CHANGES] = driver.total_changes
    connection.info[_RAISED] = []  # not the one that a COMMIT still fills which was cancelled


def raise_position(connection: Connection) -> None:
    """To be called when a transaction is about to be committed."""
    at_commit(connection, _raise(connection), connection.info[_RAISED])


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
            for sql, parameters in _raise(connection):
                connection.info[_RAISED].extend(in_one_hop(connection, sql, parameters))


def _raise(connection: Connection) -> Statements:
    """What raises the position, if there were changes since the last time, and tells it then."""
    driver: Any = connection.connection.driver_connection
    info = connection.info
    changed = driver.total_changes != info[_CHANGES] + len(info[_RAISED])
    return (_RAISE_POSITION, (changed,)), (_RAISED_TO, ())
