"""Roles and terms of MariaDB and MySQL (`orm.backends.Roles`)."""

from orm.backends import lineage
from orm.backends.lineage import as_need, is_later, without_oldest
from orm.backends.mysql.state import is_candidate, is_standby
from orm.bookmark import Bookmark

__all__ = [
    "as_need",
    "behind",
    "is_candidate",
    "is_later",
    "is_standby",
    "lost",
    "without_oldest",
]


def lost(head: Bookmark, need: Bookmark) -> str | None:
    """Why a server at `head` will never have all of `need`; None if it may."""
    return lineage.lost(head, need, untold=_untold, gone=_gone)


def _untold(term: int, current: int) -> str:
    return f"it is of term {term}, and the database, on term {current}, has no such term"


def _gone(term: int, at: int, fork: int) -> str:
    return (
        f"it is transaction {at} of term {term}, and the next primary had those up to {fork} when "
        "it took over: what was written after that is gone"
    )


def behind(at: Bookmark, head: Bookmark) -> int | None:
    """How many transactions a server lacks; None if the two are of different histories."""
    return at.behind(head)
