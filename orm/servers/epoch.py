"""The epoch of the primary: which primary counts, and which positions belong to it."""

from orm.backends import Roles
from orm.bookmark import Bookmark

__all__ = ["PrimaryEpoch"]


class PrimaryEpoch:
    """One primary after another, each of which has a number.

    Args:
        roles: how positions tell the primaries apart.
    """

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.number: int = 0
        """Raised whenever another server becomes the primary, or the same one begins another
        history or timeline."""
        self.at: Bookmark | None = None
        """A position of this epoch's primary, which tells its history and timeline; None before it
        has answered. `Server.knowledge` has its latest position."""

    def begin(self, at: Bookmark) -> None:
        """Another primary counts from now on, and is at `at`."""
        self.number += 1
        self.at = at

    def advance(self, at: Bookmark) -> None:
        """The primary of this epoch has been at `at`."""
        if self.at is None:
            self.at = at
        elif not self.is_after(at):  # else `at` is of a primary before this one
            self.at = self.at.merge(at)

    def is_of(self, history: str) -> bool:
        """Whether a history is this primary's, as far as that is known."""
        return self.at is None or self.at.history == history

    def is_before(self, at: Bookmark) -> bool:
        """Whether a primary that is at `at` takes over from this epoch's."""
        return self.at is not None and (
            at.history != self.at.history or self._roles.is_later(at, self.at)
        )

    def is_after(self, at: Bookmark) -> bool:
        """Whether a primary that is, or was, at `at` was replaced by this epoch's."""
        return self.at is not None and self._roles.is_later(self.at, at)

    def lost(self, at: Bookmark) -> str | None:
        """Why this primary will never have all of a position of its history; None if it may."""
        return None if self.at is None else self._roles.lost(self.at, at)
