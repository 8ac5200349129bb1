"""What one session has seen and written, as a bookmark that only moves forward."""

from dataclasses import replace
from typing import Final, Self

from orm.bookmark import Bookmark
from orm.constraint import Constraint, parse
from orm.exceptions import ForeignBookmark
from orm.servers.cluster import Cluster
from orm.servers.server import Server

__all__ = ["NO_EPOCH", "SessionMemory"]

NO_EPOCH: Final = -1
"""Of what may not be part of any primary's life."""


class SessionMemory:
    """The memory of a session.

    Args:
        start: the least state that the session may see.
        first_primary: whether its first transaction reads from the primary.
        proven: the epoch of the primary (`Cluster.epoch`) that `start` is known to be part of.
        stray: whether the session was started from a bookmark that could not be used.
    """

    def __init__(
        self, start: Bookmark, *, first_primary: bool, proven: int | None, stray: bool = False
    ) -> None:
        self.bookmark = start
        self.first_primary = first_primary
        self.proven = proven
        self.stray = stray
        self.unlocated: Server | None = None
        """The server last read from, while the position of what was read there is not known.

        As long as the session stays on this incarnation of it, nothing there can go back in time.
        """
        self.incarnation = ""
        self.epoch = 0
        """The primary's (`Cluster.epoch`) when that was read."""

    @classmethod
    def begin(cls, cluster: Cluster, constraint: Constraint) -> Self:
        """The memory of a new session.

        Args:
            cluster: the servers, and the rules.
            constraint: where the session starts.

        Raises:
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
            ForeignBookmark: it is of another database, and the policy is to refuse those.
        """
        floor = cluster.require_open()
        first_primary, bookmark = parse(constraint, cluster.keys)
        if bookmark is None:
            return cls(floor, first_primary=first_primary, proven=cluster.epoch)
        if bookmark.history == floor.history:
            return cls(floor.merge(bookmark), first_primary=False, proven=None)
        if cluster.stray_bookmarks == "error":
            raise ForeignBookmark(
                "the bookmark is of another database, or of this one before it was restored"
            )
        return cls(floor, first_primary=True, proven=cluster.epoch, stray=True)

    def reads(self, server: Server, incarnation: str, epoch: int) -> None:
        """The session is about to see what `server` shows."""
        self.unlocated, self.incarnation, self.epoch = server, incarnation, epoch

    def saw(self, at: Bookmark) -> None:
        """All that was seen and written so far lies at or before `at`."""
        # A new history (the database was replaced while we ran) leaves nothing to compare with.
        same = at.history == self.bookmark.history
        self.bookmark = self.bookmark.merge(at) if same else at
        self.unlocated = None

    def doubt(self) -> None:
        """What was seen may not be part of what the primary has."""
        self.proven = NO_EPOCH

    def passed_fence(self) -> None:
        """The primary shows all that was seen on replicas."""
        self.bookmark = replace(self.bookmark, shown=0)

    def start_over(self, at: Bookmark) -> None:
        """The bookmark that the session started from is not believed: `at` is all there is."""
        self.bookmark = at
        self.stray = self.first_primary = True
