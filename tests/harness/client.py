"""A client that also cancels its own work, and tries bookmarks that were never handed out."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orm.bookmark import Bookmark
from orm.testing.consistency.client import Client
from orm.testing.consistency.history import Kind
from orm.testing.consistency.transactions import Habits, Notes
from tests.harness.cancel import CutOff, cancelled_at

__all__ = ["TrialClient", "TrialHabits"]

_FAR: Final = 1_000_000
"""Commits by which a forged bookmark lies ahead."""

_AWAITS: Final = 16
"""The latest await at which work is cancelled; most have fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialHabits(Habits):
    """What a client of a trial does, and how often.

    Attributes:
        cancels: which share of its operations is cancelled at one of its awaits.
        forges: whether it tries bookmarks that were never handed out.
    """

    cancels: float = 0.0
    forges: bool = False


class TrialClient(Client):
    """One task of a trial."""

    _habits: TrialHabits
    failures = (*Client.failures, CutOff)

    def tokens(self, given: Sequence[str]) -> list[str]:
        tokens = [*given]
        if tokens and self._habits.forges and self._chance.random() < 0.2:
            tokens.append(self._forged(tokens[0]))
            if self._database.cluster.backend.fences:
                self._after = ()  # a session that starts anew may miss what only replicas show
        return tokens

    def _forged(self, token: str) -> str:
        if self._chance.random() < 0.5:
            return "".join(self._chance.choices(token, k=len(token)))
        if self._database.rules.keys:
            return token[:-1] + ("A" if token[-1] != "A" else "B")
        real = Bookmark.decode(token)
        if self._chance.random() < 0.5:  # of another database
            return Bookmark(real.history[::-1], real.position).encode()
        ahead = tuple((domain, at + _FAR) for domain, at in real.position)
        return Bookmark(real.history, ahead).encode()

    async def perform(self, kind: Kind, work: Coroutine[Any, Any, None], notes: Notes) -> None:
        if self._chance.random() >= self._habits.cancels:
            await work
        elif kind == "write" and self._chance.random() < 0.5:  # inside COMMIT
            await cancelled_at(work, self._chance.randint(1, 3), lambda: notes.committing)
        else:
            await cancelled_at(work, self._chance.randint(1, _AWAITS))
