"""The servers of one database, and the rules that all its sessions share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.constraint import Constraint, parse
from orm.exceptions import DatabaseClosed, ForeignBookmark
from orm.routing import Route
from orm.tracker import Tracker
from orm.watcher import Server, Watcher

__all__ = ["Cluster"]


@dataclass(kw_only=True)
class Cluster:
    """What a session needs to know of its `Database`.

    Attributes:
        backend: what the engine family can do.
        writer: the engine for transactions that may write, on the primary.
        primary: the primary, for plain reads.
        replicas: all replicas.
        watcher: keeps the knowledge of all servers fresh.
        max_wait: seconds that a read may wait for a replica before the primary serves it.
        fallback: whether the primary serves reads that no replica can serve.
        keys: secret keys of bookmarks; the first one signs.
        stray_bookmarks: what to do with a bookmark that is not of this database's history.
        committed: called after each commit of a session.
    """

    backend: Backend
    writer: AsyncEngine
    primary: Server
    replicas: Sequence[Server]
    watcher: Watcher
    max_wait: float
    fallback: bool
    keys: Sequence[bytes]
    stray_bookmarks: Literal["primary", "error"]
    committed: Callable[[], None]
    floor: Bookmark | None = None
    """The least state that any session sees: where the primary was at start. None: not open."""
    observers: tuple[Callable[[Route], None], ...] = ()
    """Told where each transaction goes."""
    closed: bool = False
    turns: "count[int]" = field(default_factory=count)

    def require_open(self) -> Bookmark:
        """The floor.

        Raises:
            DatabaseClosed: the database is not started, or closed.
        """
        if self.closed:
            raise DatabaseClosed("this Database is closed: make a new one")
        if self.floor is None:
            raise DatabaseClosed("this Database is not started: use it in 'async with'")
        return self.floor

    def tracker(self, constraint: Constraint) -> Tracker:
        """The memory of a new session.

        Raises:
            DatabaseClosed: the database is not started, or closed.
            InvalidBookmark: the constraint is none of the words, nor a bookmark.
            ForeignBookmark: it is of another database, and the policy is to refuse those.
        """
        floor = self.require_open()
        first_primary, bookmark = parse(constraint, self.keys)
        if bookmark is None:
            return Tracker(floor, first_primary=first_primary, proven=True)
        if bookmark.history == floor.history:
            return Tracker(floor.merge(bookmark), first_primary=False, proven=False)
        if self.stray_bookmarks == "error":
            raise ForeignBookmark(
                "the bookmark is of another database, or of this one before it was restored"
            )
        return Tracker(floor, first_primary=True, proven=True, stray=True)
