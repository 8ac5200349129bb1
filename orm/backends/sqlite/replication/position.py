"""Whether a copy would take a replica backwards."""

import sqlite3
from typing import NamedTuple


class Position(NamedTuple):
    """A state of a database, as the one-row table ``orm_position`` in it says."""

    history: str
    sequence: int


def read_position(connection: sqlite3.Connection) -> Position | None:
    """The position that a database is at, in the connection's transaction.

    Returns:
        ``None`` when the database does not say: no such table, or no row in it.
    """
    try:
        row = connection.execute("SELECT history, sequence FROM orm_position").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return None
    return None if row is None else Position(*row)


def goes_back(replica: Position | None, source: Position | None) -> bool:
    """Whether the replica's position would mislead a reader about the source's.

    That is so after the source was restored from an older copy, or became another database.
    """
    if replica is None:
        return False
    if source is None or source.history != replica.history:
        return True
    return source.sequence < replica.sequence
