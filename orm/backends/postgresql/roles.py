"""Roles and timelines of PostgreSQL (`orm.backends.Roles`).

A failover begins a new timeline. A position names the latest timeline that a server has, and where
earlier ones were left; so what a failover lost is told from what a server merely lacks yet.
"""

from dataclasses import replace

from sqlalchemy import Connection

from orm.backends.postgresql.position import STANDBY
from orm.bookmark import Bookmark

__all__ = ["as_need", "behind", "is_later", "is_standby", "latest", "lost", "lsn"]


def is_standby(connection: Connection) -> bool | None:
    """Whether the server was a standby when `position` was last asked; None before that."""
    standby: bool | None = connection.info.get(STANDBY)
    return standby


def is_later(at: Bookmark, than: Bookmark) -> bool:
    """Whether a primary is on a later timeline than another."""
    if len(at.position) == len(than.position) == 1 and at.position[0][0] == than.position[0][0]:
        return False  # as a rule
    return _timelines(at)[-1] > _timelines(than)[-1]


def lost(head: Bookmark, need: Bookmark) -> str | None:
    """Why a server at `head` will never have all of `need`; None if it may."""
    there, current = dict(head.position), _timelines(head)[-1]
    for timeline, sequence in need.position:
        if timeline.isdecimal() and int(timeline) < current:
            fork = there.get(timeline)
            if fork is None:
                return (
                    f"it is of timeline {timeline}, the database is on {current}, and where it "
                    f"left timeline {timeline} cannot be told: GRANT EXECUTE ON FUNCTION "
                    "pg_read_file(text) to the account, and it will be"
                )
            if sequence > fork:
                return (
                    f"it lies {sequence - fork} bytes after {lsn(fork)}, where a failover left "
                    f"timeline {timeline}: what was written there is gone"
                )
    return None


def as_need(at: Bookmark) -> Bookmark:
    """Its latest timeline alone: a server that has it has those that it came from.

    Else each bookmark would name all of them, more with each failover.
    """
    return replace(at, position=((str(_timelines(at)[-1]), latest(at)),))


def behind(at: Bookmark, head: Bookmark) -> int | None:
    """How many bytes of the log lie between the two; positions go on counting in a new timeline."""
    if at.history != head.history:
        return None
    return max(0, latest(head) - latest(at))


def latest(at: Bookmark) -> int:
    """The place in the log on the latest timeline."""
    return dict(at.position).get(str(_timelines(at)[-1]), 0)


def _timelines(at: Bookmark) -> list[int]:
    """The timelines of a position. A forged bookmark may name other domains: they are left out."""
    return sorted(int(name) for name, _ in at.position if name.isdecimal()) or [0]


def lsn(at: int) -> str:
    """A place in the log, as PostgreSQL writes it."""
    return f"{at >> 32:X}/{at & 0xFFFFFFFF:X}"
