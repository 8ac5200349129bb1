"""Positions of engines whose failovers begin a new domain: timelines of PostgreSQL, terms of MySQL.

The domains are numbers, and each failover takes the next one. A position names the latest domain
that a server has, and where earlier ones were left (their forks); so what a failover lost is told
from what a server merely lacks yet.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from orm.bookmark import Bookmark

__all__ = ["as_need", "at_least", "current", "is_later", "latest", "lost", "without_oldest"]

_LEAST: Final = ":least"
"""Ends the name of a domain that says of another one: its fork lies where it is said, or later."""

KEPT: Final = 16
"""Domains that a bookmark goes on naming: with all of them a token would outgrow its 1,024
characters after some 40 failovers."""


def is_later(at: Bookmark, than: Bookmark) -> bool:
    """Whether a primary is of a later domain than another."""
    if len(at.position) == len(than.position) == 1 and at.position[0][0] == than.position[0][0]:
        return False  # as a rule
    return current(at) > current(than)


def at_least(at: Bookmark, domains: Iterable[str]) -> Bookmark:
    """A position of which some forks are not exact: the earlier domains were left later, or there.

    No need names such a fork (`as_need`).
    """
    marks = ((f"{domain}{_LEAST}", 0) for domain in domains)
    return replace(at, position=tuple(sorted((*at.position, *marks))))


def lost(
    head: Bookmark,
    need: Bookmark,
    *,
    untold: Callable[[int, int], str],
    gone: Callable[[int, int, int], str],
) -> str | None:
    """Why a server at `head` will never have all of `need`; None if it may.

    Args:
        head: where the server is.
        need: of the same history.
        untold: says why the fork of a domain is not known; given that domain and the current one.
        gone: says that a place lies after the fork; given the domain, the place and the fork.
    """
    there, now = dict(head.position), current(head)
    needed = dict(need.position)
    for name, sequence in need.position:
        if name.isdecimal() and int(name) < now:
            fork = there.get(name)
            if f"{name}{_LEAST}" in needed:  # of a server; where it is now says what it came from
                continue
            if fork is None:
                return untold(int(name), now)
            if sequence > fork:
                exact = f"{name}{_LEAST}" not in there
                return gone(int(name), sequence, fork) if exact else untold(int(name), now)
    return None


def as_need(at: Bookmark) -> Bookmark:
    """Its latest domain alone: a server that has it has those that it came from.

    Else each bookmark would name all of them, more with each failover.
    """
    return replace(at, position=((str(current(at)), latest(at)),))


def without_oldest(need: Bookmark) -> Bookmark:
    """Leave out all but the latest domains of a position that a server was known to have.

    That server has left each of the older domains at or after the place that is named, on its way
    to the latest one of them. Where a domain comes from never changes. So each server that has the
    latest one has them, too; and one that never went that way has no such domain, so that what it
    lacks is told as lost as before.
    """
    if len(need.position) <= KEPT:
        return need
    kept = set(sorted(int(name) for name, _ in need.position if name.isdecimal())[-KEPT:])
    return replace(
        need,
        position=tuple(
            (name, at)
            for name, at in need.position
            if not (domain := name.removesuffix(_LEAST)).isdecimal() or int(domain) in kept
        ),
    )


def latest(at: Bookmark) -> int:
    """The place in the latest domain."""
    return dict(at.position).get(str(current(at)), 0)


def current(at: Bookmark) -> int:
    """The latest domain. A forged bookmark may name others than numbers: they are left out."""
    return max((int(name) for name, _ in at.position if name.isdecimal()), default=0)
