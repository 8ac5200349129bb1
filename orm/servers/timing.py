"""How long the library waits, and how soon it tries again. All are seconds."""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CLOSING",
    "COMMITTING",
    "FENCE",
    "FENCE_POLL",
    "HEARTBEAT",
    "POLL",
    "PROBE",
    "RETRY",
    "ROLE_CHANGES",
    "Backoff",
]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double.

    Attributes:
        first: the first pause, in seconds.
        longest: the longest pause, in seconds.
    """

    first: float
    longest: float

    def after(self, pause: float) -> float:
        """The pause that follows a pause; 0 stands for none yet."""
        return min(max(2 * pause, self.first), self.longest)


HEARTBEAT: Final = 1.0
"""Between probes of a server while no session waits: the longest time until an error is noticed."""

POLL: Final = Backoff(0.002, 0.02)
"""Between probes while a session waits. Replicas are some milliseconds behind as a rule; a probe
takes about a tenth of a millisecond of a server's time."""

RETRY: Final = Backoff(0.1, 5.0)
"""Between probes of a server that fails: a restart takes about a second, an outage longer."""

PROBE: Final = 5.0
"""A probe that takes longer has failed. Connecting is part of it."""

CLOSING: Final = 1.0
"""How long a probe may go on when the `Database` closes. A driver that is cancelled while it
connects may leave a thread behind."""

FENCE: Final = 5.0
"""How long a transaction waits for the primary to show what a replica has shown
(`orm.routing.fence`)."""

FENCE_POLL: Final = Backoff(0.001, 0.02)
"""Between two questions to the primary during that wait."""

COMMITTING: Final = 0.1
"""After that time a commit that waits for no replica has ended on the primary."""

ROLE_CHANGES: Final = 3
"""How often the primary may change while one transaction looks for it."""
