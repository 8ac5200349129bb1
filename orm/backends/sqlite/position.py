"""Positions are counted in a one-row table, inside each writing transaction.

The count travels to every copy of the file together with the data, so a replica's position is
exact in whatever snapshot a reader has of it, however the copy is made.
"""

import logging
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, text
from sqlalchemy.exc import OperationalError

from orm.backends.sqlite.driver import Execute, Work, at_commit, code, in_one_hop
from orm.backends.sqlite.files import file_of, identity
from orm.bookmark import Bookmark

__all__ = [
    "POSITION",
    "committed",
    "note_changes",
    "noted",
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
UPDATE orm_position SET file = ?, history = lower(hex(randomblob(16))) WHERE file <> ?"""
_HISTORY: Final = "SELECT history FROM orm_position"
POSITION: Final = "SELECT history, sequence FROM orm_position"
"""A query of one row: the history, and the position in it."""
# Milliseconds since 1970 are more than any count of commits can be: no position lies after it.
_GO_ON: Final = """\
UPDATE orm_position SET history = ?, sequence = ?"""
# sqlite3_total_changes() does not count DDL; the schema cookie does (SQLite "PRAGMA
# schema_version"), and kept in the row it also finds DDL that another program committed before.
_RAISE_POSITION: Final = """\
UPDATE orm_position
SET sequence = sequence + 1, schema_version = (SELECT schema_version FROM pragma_schema_version)
WHERE ? OR schema_version <> (SELECT schema_version FROM pragma_schema_version)"""
# RETURNING would do, but SQLite compiles such a statement again whenever it is executed.
_RAISED_TO: Final = f"{POSITION} WHERE changes() > 0"

_LOG: Final = logging.getLogger(__name__)
_histories: Final = WeakKeyDictionary[Pool, tuple[str | None, str]]()
"""The file and the history that were prepared, so that the table can be made anew."""
_CHANGES: Final = "orm.sqlite.changes"
_RAISED: Final = "orm.sqlite.raised"
"""The positions that it was raised to since; raising it changes one row."""


def prepare(connection: Connection) -> None:
    """Make the table, and begin a new history if this is not the file that counted last."""
    connection.execute(text(_CREATE))
    connection.execute(text(_FIRST_ROW))
    file = identity(file_of(connection))
    connection.exec_driver_sql(_NEW_HISTORY, (file, file))
    _histories[connection.engine.pool] = (file, str(connection.scalar(text(_HISTORY))))


def position(connection: Connection) -> Bookmark | None:
    """Where the snapshot is that the connection reads; None if nothing was ever prepared."""
    try:
        row = connection.exec_driver_sql(POSITION).one_or_none()
    except OperationalError as error:
        if code(error) == sqlite3.SQLITE_ERROR:  # no such table: never prepared
            return None
        raise
    return None if row is None else Bookmark.at(*row)


def seen(connection: Connection) -> Bookmark | None:
    """Nothing that was read or committed here lies after this; None as for `position`."""
    raise_if_ended(connection)
    return position(connection)


def noted(connection: Connection) -> Bookmark | None:
    """The position after the latest statement of a reader; None if there is none."""
    if connection.closed or connection.invalidated:
        return None
    row = getattr(connection.connection.dbapi_connection, "noted", None)
    return None if row is None else Bookmark.at(*row)


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
    at_commit(connection, _raising(connection), connection.info[_RAISED])


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
            raised = _raising(connection)(partial(in_one_hop, connection))
            connection.info[_RAISED].extend(raised)


def _raising(connection: Connection) -> Work:
    """What raises the position, if there were changes since the last time, and tells it then."""
    driver: Any = connection.connection.driver_connection
    info, pool, file = connection.info, connection.engine.pool, file_of(connection)
    changed = driver.total_changes != info[_CHANGES] + len(info[_RAISED])

    def work(execute: Execute) -> list[Any]:
        try:
            execute(_RAISE_POSITION, (changed,))
            raised = execute(_RAISED_TO, ())
            if raised or not changed:
                return raised
        except (OperationalError, sqlite3.OperationalError) as error:
            if "no such table: orm_position" not in str(error):
                raise
        _LOG.error(
            "the table orm_position of %s was gone or empty: another program has taken it away, a "
            "migration perhaps. This commit makes it anew; a replica serves when it has this "
            "commit",
            file,
        )
        _make_anew(execute, pool, identity(file))
        execute(_RAISE_POSITION, (True,))
        return execute(_RAISED_TO, ())

    return work


def _make_anew(execute: Execute, pool: Pool, file: str | None) -> None:
    """Make the table, and go on with the history that it had, if the file is the same."""
    execute(_CREATE, ())
    execute(_FIRST_ROW, ())
    execute(_NEW_HISTORY, (file, file))
    before = _histories.get(pool)
    if before is not None and before[0] == file:
        execute(_GO_ON, (before[1], time.time_ns() // 1_000_000))
    [(history,)] = execute(_HISTORY, ())
    _histories[pool] = (file, history)
