"""What one session has seen and written, as a bookmark that only moves forward."""

from dataclasses import replace
from typing import Final

from orm.bookmark import Bookmark
from orm.server import Server

__all__ = ["NO_LINEAGE", "Tracker"]

NO_LINEAGE: Final = -1
"""Of what may not be part of any primary's life."""


class Tracker:
    """The memory of a session.

    Args:
        start: the least state that the session may see.
        first_primary: whether its first transaction reads from the primary.
        proven: the lineage of the primary (`Cluster.lineage`) that `start` is known to be part of.
        stray: whether the session was started from a bookmark that could not be used.
    """

    def __init__(
        self, start: Bookmark, *, first_primary: bool, proven: int | None, stray: bool = False
    ) -> None:
        self.bookmark = start
        self.first_primary = first_primary
        self.proven = proven
        self.stray = stray
        self.unsampled: Server | None = None
        """The server last read from, while the position of what was read there is not known.

        As long as the session stays on this incarnation of it, nothing there can go back in time.
        """
        self.incarnation = ""
        self.lineage = 0
        """The primary's (`Cluster.lineage`) when that was read."""

    def reads(self, server: Server, incarnation: str, lineage: int) -> None:
        """The session is about to see what `server` shows."""
        self.unsampled, self.incarnation, self.lineage = server, incarnation, lineage

    def saw(self, at: Bookmark) -> None:
        """All that was seen and written so far lies at or before `at`."""
        # A new history (the database was replaced while we ran) leaves nothing to compare with.
        same = at.history == self.bookmark.history
        self.bookmark = self.bookmark.merge(at) if same else at
        self.unsampled = None

    def doubt(self) -> None:
        """What was seen may not be part of what the primary has."""
        self.proven = NO_LINEAGE

    def passed_fence(self) -> None:
        """The primary shows all that was seen on replicas."""
        self.bookmark = replace(self.bookmark, shown=0)

    def start_over(self, at: Bookmark) -> None:
        """The bookmark that the session started from is not believed: `at` is all there is."""
        self.bookmark = at
        self.stray = self.first_primary = True
