"""Roles and timelines of PostgreSQL (`orm.backends.Roles`)."""

from sqlalchemy import Connection

from orm.backends import lineage
from orm.backends.lineage import as_need, is_later, latest, without_oldest
from orm.backends.postgresql.position import STANDBY
from orm.bookmark import Bookmark

__all__ = [
    "as_need",
    "behind",
    "is_candidate",
    "is_later",
    "is_standby",
    "latest",
    "lost",
    "lsn",
    "without_oldest",
]


def is_standby(connection: Connection) -> bool | None:
    """Whether the server was a standby when `position` was last asked; None before that."""
    standby: bool | None = connection.info.get(STANDBY)
    return standby


def is_candidate(connection: Connection) -> bool:
    """False: a standby that is promoted begins its timeline by itself."""
    return False


def lost(head: Bookmark, need: Bookmark) -> str | None:
    """Why a server at `head` will never have all of `need`; None if it may."""
    return lineage.lost(head, need, untold=_untold, gone=_gone)


def _untold(timeline: int, current: int) -> str:
    return (
        f"it is of timeline {timeline}, the database is on {current}, and whether timeline "
        f"{timeline} was left before or after that cannot be told. The log has a warning of the "
        "start of this Database, which says how it will be"
    )


def _gone(timeline: int, at: int, fork: int) -> str:
    return (
        f"it lies {at - fork} bytes after {lsn(fork)}, where a failover left timeline {timeline}: "
        "what was written there is gone"
    )


def behind(at: Bookmark, head: Bookmark) -> int | None:
    """How many bytes of the log lie between the two; positions go on counting in a new timeline."""
    if at.history != head.history:
        return None
    return max(0, latest(head) - latest(at))


def lsn(at: int) -> str:
    """A place in the log, as PostgreSQL writes it."""
    return f"{at >> 32:X}/{at & 0xFFFFFFFF:X}"
