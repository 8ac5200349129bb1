"""The memory of a session: what it has seen and written, as a bookmark that only moves forward."""

from dataclasses import replace
from typing import Final, Self

from orm.bookmark import Bookmark
from orm.constraint import Constraint, parse
from orm.exceptions import ForeignBookmark
from orm.routing.rules import Rules
from orm.servers.cluster import Cluster
from orm.servers.server import Server

__all__ = ["NO_EPOCH", "SessionMemory"]

NO_EPOCH: Final = -1
"""Stands for the epoch of what may not be part of any primary's life."""


class SessionMemory:
    """What one session has seen and written.

    Args:
        start: the least state that the session may see.
        first_primary: whether its first transaction reads from the primary.
        checked_epoch: the epoch (`PrimaryEpoch.number`) whose primary is known to have all of
            `start`; None if none was asked.
        stray: whether the session was started from a bookmark that could not be used.
    """

    def __init__(
        self,
        start: Bookmark,
        *,
        first_primary: bool,
        checked_epoch: int | None,
        stray: bool = False,
    ) -> None:
        self.bookmark = start
        self.first_primary = first_primary
        self.checked_epoch = checked_epoch
        self.stray = stray
        self.unlocated: Server | None = None
        """The server last read from, while the position of what was read there is not known.

        As long as the session stays on this incarnation of the server, nothing that it reads there
        can go back in time.
        """
        self.incarnation = ""
        """The incarnation of that server."""
        self.read_epoch = 0
        """The epoch in which the session read there."""

    @classmethod
    def begin(cls, cluster: Cluster, rules: Rules, constraint: Constraint) -> Self:
        """The memory of a new session.

        Args:
            cluster: the servers.
            rules: of all sessions.
            constraint: where the session starts.

        Raises:
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
            ForeignBookmark: it is of another database, and the rule is to refuse those.
        """
        floor, epoch = cluster.require_open(), cluster.epoch.number
        first_primary, bookmark = parse(constraint, rules.keys)
        if bookmark is None:
            return cls(floor, first_primary=first_primary, checked_epoch=epoch)
        if bookmark.history == floor.history:
            return cls(floor.merge(bookmark), first_primary=False, checked_epoch=None)
        if rules.stray_bookmarks == "error":
            raise ForeignBookmark(
                "the bookmark is of another database, or of this one before it was restored"
            )
        return cls(floor, first_primary=True, checked_epoch=epoch, stray=True)

    def reads(self, server: Server, incarnation: str, epoch: int) -> None:
        """The session is about to see what `server` shows."""
        self.unlocated, self.incarnation, self.read_epoch = server, incarnation, epoch

    def located(self, at: Bookmark) -> None:
        """All that the session has seen and written so far lies at or before `at`."""
        # A new history (the database was replaced while we ran) leaves nothing to compare with.
        same = at.history == self.bookmark.history
        self.bookmark = self.bookmark.merge(at) if same else at
        self.unlocated = None

    def doubt(self) -> None:
        """What the session has seen may not be part of what the primary has."""
        self.checked_epoch = NO_EPOCH

    def passed_fence(self) -> None:
        """The primary shows all that the session has seen on replicas."""
        self.bookmark = replace(self.bookmark, shown=0)

    def start_over(self, at: Bookmark) -> None:
        """The bookmark that the session started from is not believed: `at` takes its place."""
        self.bookmark = at
        self.stray = self.first_primary = True
