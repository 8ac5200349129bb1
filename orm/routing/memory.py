"""The memory of a session: what it has seen and written, as a bookmark that only moves forward."""

from dataclasses import replace
from typing import Final, Self

from orm.backends import Roles
from orm.bookmark import Bookmark
from orm.constraint import Constraint, parse
from orm.exceptions import ForeignBookmark
from orm.routing.rules import Rules, checked_staleness
from orm.servers.cluster import Cluster
from orm.servers.server import Server

__all__ = ["NO_EPOCH", "SessionMemory"]

NO_EPOCH: Final = -1
"""The number of no epoch: no primary is known to have what the session has seen."""


class SessionMemory:
    """What one session has seen and written.

    Args:
        start: the least state that the session may see.
        first_primary: whether its first transaction reads from the primary.
        checked_epoch: the epoch (`PrimaryEpoch.number`) whose primary is known to have all of
            `start`; None if none was asked.
        stray: whether the session was started from a bookmark that could not be used.
        max_staleness: seconds that a replica may be behind the primary; None allows any lag.
    """

    def __init__(
        self,
        start: Bookmark,
        *,
        first_primary: bool,
        checked_epoch: int | None,
        stray: bool = False,
        max_staleness: float | None = None,
    ) -> None:
        self.bookmark: Bookmark = start
        self.first_primary: bool = first_primary
        self.checked_epoch: int | None = checked_epoch
        self.stray: bool = stray
        self.max_staleness: float | None = max_staleness
        self.unlocated: Server | None = None
        """The server last read from, while the position of that read is not known.

        As long as the session stays on this incarnation of the server, its reads cannot go back in
        time.
        """
        self.incarnation: str = ""
        """The incarnation of that server."""
        self.read_epoch: int = 0
        """The epoch in which the session read there."""
        self.noted: Bookmark | None = None
        """The position of all that it has read there, if that is known already."""
        self._blank: Bookmark | None = None
        """Where a session without a bookmark began. While it is there, it has seen nothing."""
        self._own: Bookmark | None = None
        """What it had seen itself when it last took in a bookmark from outside."""
        self._before: tuple[Server | None, str, int] = (None, "", 0)
        """`unlocated`, `incarnation` and `read_epoch` as they were before the latest read."""

    @classmethod
    def begin(
        cls,
        cluster: Cluster,
        rules: Rules,
        constraint: Constraint,
        max_staleness: float | None = None,
    ) -> Self:
        """The memory of a new session.

        Args:
            cluster: the servers.
            rules: of all sessions.
            constraint: where the session starts.
            max_staleness: seconds; None stands for that of the rules.

        Raises:
            ConfigurationError: `max_staleness` is too short.
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is neither of the two words, nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        floor, epoch = cluster.require_open(), cluster.epoch.number
        first_primary, bookmark = parse(constraint, rules.keys)
        stale = checked_staleness(max_staleness) or rules.max_staleness
        if bookmark is None:
            memory = cls(
                floor, first_primary=first_primary, checked_epoch=epoch, max_staleness=stale
            )
            memory._blank = floor
            return memory
        if bookmark.history == floor.history:
            start = floor.merge(bookmark)
            return cls(start, first_primary=first_primary, checked_epoch=None, max_staleness=stale)
        if rules.stray_bookmarks == "error":
            raise ForeignBookmark(
                "the bookmark is of another database, or of this one before it was restored"
            )
        return cls(floor, first_primary=True, checked_epoch=epoch, stray=True, max_staleness=stale)

    @property
    def is_blank(self) -> bool:
        """Whether the session was given no bookmark, and has neither read nor written anything."""
        return self.bookmark is self._blank and self.unlocated is None

    def see(self, cluster: Cluster, rules: Rules, constraint: Constraint) -> None:
        """See what bookmarks name, too.

        Args:
            cluster: the servers.
            rules: of all sessions.
            constraint: the bookmarks, or a word for where a session starts.

        Raises:
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: it is neither a word nor a bookmark.
            ForeignBookmark: the bookmark is of another database, and ``stray_bookmarks="error"``;
                or several bookmarks are of different databases.
        """
        other = SessionMemory.begin(cluster, rules, constraint)
        if other.checked_epoch is None:  # it came from outside, and nothing is known of it
            self._own = self.bookmark if self.checked_epoch is not None else self._own
            self.checked_epoch = None
        if other.bookmark.history == self.bookmark.history:
            self.bookmark = self.bookmark.merge(other.bookmark)
        self.first_primary |= other.first_primary
        self.stray |= other.stray

    def reads(self, server: Server, incarnation: str, epoch: int) -> None:
        """The session is about to read what an incarnation of `server` shows."""
        self._before = (self.unlocated, self.incarnation, self.read_epoch)
        self.unlocated, self.incarnation, self.read_epoch = server, incarnation, epoch
        self.noted = None

    def reads_on(self, server: Server) -> None:
        """The session is about to read once more from the server that it read from last."""
        self.unlocated, self.noted = server, None

    def saw_nothing(self) -> None:
        """The latest read has failed, and nothing else was read on its connection."""
        if self.unlocated is not None:
            self.unlocated, self.incarnation, self.read_epoch = self._before
            self.noted = None

    def located(self, at: Bookmark) -> None:
        """All that the session has seen and written so far lies at or before `at`."""
        # With a new history (the database was replaced meanwhile) nothing can be compared.
        same = at.history == self.bookmark.history
        self.bookmark = self.bookmark.merge(at) if same else at
        self.unlocated = self.noted = None

    def proved(self, roles: Roles) -> None:
        """A server is known to have all of it: it need not name every failover that it has seen."""
        if len(self.bookmark.position) > 1:  # as a rule it has seen none
            self.bookmark = roles.without_oldest(self.bookmark)

    def doubt(self) -> None:
        """The primary may not have all that the session has seen: it must be asked."""
        self.checked_epoch = NO_EPOCH

    def passed_fence(self) -> None:
        """The primary shows all that the session has seen on replicas."""
        self.bookmark = replace(self.bookmark, shown=0)

    def is_ahead_of(self, at: Bookmark) -> bool:
        """Whether the session itself, and not a bookmark from outside, has seen more than `at`."""
        return self._own is not None and not at.covers(self._own)

    def start_over(self, at: Bookmark) -> None:
        """Replace a bookmark from outside, which is not believed, by `at`."""
        same = self._own is not None and self._own.history == at.history
        self.bookmark = at.merge(self._own) if same and self._own is not None else at
        self.stray = self.first_primary = True
