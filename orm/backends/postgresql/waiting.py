"""Waiting on the server until a standby has replayed so far (PostgreSQL 19, "WAIT FOR")."""

from math import ceil
from typing import Final

from sqlalchemy import Connection

from orm.backends.postgresql.driver import tell
from orm.backends.postgresql.position import VERSION
from orm.backends.postgresql.roles import is_standby, latest, lsn
from orm.bookmark import Bookmark

__all__ = ["wait_until"]

_SINCE: Final = 190000

# It knows of no timelines, ends at once where the server was promoted, and takes no snapshot.
_WAIT: Final = "WAIT FOR LSN '{}' WITH (MODE 'standby_replay', TIMEOUT '{}ms', NO_THROW)"


def wait_until(connection: Connection, need: Bookmark, seconds: float) -> bool:
    """Have a standby wait; False at once where it cannot.

    Args:
        connection: in autocommit.
        need: where it is to be, on whatever timeline.
        seconds: after which it answers in any case.
    """
    if connection.info.get(VERSION, 0) < _SINCE or not is_standby(connection):
        return False
    milliseconds = ceil(seconds * 1000)  # of which 0 would be for ever
    tell(connection, _WAIT.format(lsn(latest(need)), milliseconds))
    return True
