"""Where the primary was, and when it said so: by that a replica's lag is known in seconds.

A replica that has all that the primary had N seconds ago is at most N seconds behind. That rests on
positions, and on how much time passes for this process: on no clock that two machines would have to
agree on. While the primary is idle, each of its answers says the same again; while it cannot be
reached, there is no answer, and the bound grows.
"""

from orm.bookmark import Bookmark

__all__ = ["Past"]

_MOST = 128
"""Answers that are kept; of older ones every second one is forgotten, time and again."""


class Past:
    """The answers of one primary."""

    def __init__(self) -> None:
        self._answers: list[tuple[Bookmark, float]] = []
        """A position, and when the primary was last asked and answered that; the latest is last."""

    def note(self, at: Bookmark, asked: float) -> None:
        """The primary has answered.

        Args:
            at: where it was.
            asked: when the question was sent, in seconds.
        """
        answers = self._answers
        if answers and answers[-1][0] == at:
            answers[-1] = (at, asked)
            return
        answers.append((at, asked))
        if len(answers) > _MOST:
            half = _MOST // 2
            self._answers = answers[:half:2] + answers[half:]

    def clear(self) -> None:
        """Another primary has taken over."""
        self._answers = []

    def since(self, when: float) -> Bookmark | None:
        """A position that the primary had at a time or later; the earliest one, None if unknown.

        A server that covers it lacks nothing that the primary had at that time.
        """
        return next((at for at, asked in self._answers if asked >= when), None)

    def shown_until(self, at: Bookmark) -> float | None:
        """A time up to which a server that is at `at` shows all; None if unknown."""
        return next((asked for then, asked in reversed(self._answers) if at.covers(then)), None)
