"""What is known of one server, as a value.

Knowledge is a lower bound, and belongs to one incarnation of a server. An incarnation (one physical
server, since one start) only moves forward, so "it was at X" stays a proof that it has X. A server
of which nothing is known has not caught up.
"""

from dataclasses import dataclass, replace
from typing import Final

from orm.bookmark import Bookmark

__all__ = ["NOT_ASKED", "Knowledge"]

NOT_ASKED: Final = "not asked yet"
"""The error of a server of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of a server.

    Attributes:
        incarnation: the physical server, since its last start, that the rest is about.
        at: the server shows everything up to here; None while that is unknown, or while it serves
            no session.
        error: why it serves no session; None if it has answered the last time.
    """

    incarnation: str | None = None
    at: Bookmark | None = None
    error: str | None = NOT_ASKED

    def covers(self, need: Bookmark) -> bool:
        """Whether the server has everything up to `need` for certain."""
        return self.at is not None and self.at.covers(need)

    def with_answer(self, incarnation: str, at: Bookmark | None) -> "Knowledge":
        """With an answer taken in: this incarnation shows everything up to `at`."""
        if at and self.at and self.incarnation == incarnation and self.at.covers(at):
            at = self.at  # a later answer has overtaken this one
        return Knowledge(incarnation, at, None)

    def advanced(self, at: Bookmark) -> "Knowledge":
        """The same incarnation, which has moved on to `at`."""
        if self.at is not None and self.at.history == at.history:
            at = self.at.merge(at)
        return replace(self, at=at)
