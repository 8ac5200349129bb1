"""How long the library waits, and how soon it tries again. All are seconds."""

from dataclasses import dataclass
from random import random
from typing import Final

from orm._numbers import seconds

__all__ = [
    "AGAIN",
    "ALIKE",
    "CLOSING",
    "COMMITTING",
    "DISCOVERY",
    "DISCOVERY_TIMEOUT",
    "DRAIN",
    "DRAIN_POLL",
    "FAR_BEHIND",
    "FENCE",
    "FENCE_POLL",
    "FORGET",
    "FORGOTTEN",
    "HEARTBEAT",
    "IDLE",
    "LATE",
    "MISSES",
    "MOST",
    "POLL",
    "PROBE",
    "PROBES",
    "RETRY",
    "ROLE_CHANGES",
    "SELDOM",
    "SLICES",
    "UNUSED",
    "WAIT_FOR_PRIMARY",
    "WAIT_FOR_REPLICA",
    "Backoff",
    "Limits",
    "jitter",
    "jittered",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the user chooses. All are seconds.

    Attributes:
        connect_timeout: how long it may take to connect to a server, all of the handshake included.
        dead_after: how long a server may leave a probe open, and answer no session either; then it
            is taken for dead.
        seldom: the longest time between two probes of a server that sessions do not use.

    Raises:
        ConfigurationError: one of the first two is not over 0.
    """

    connect_timeout: float = 5.0
    dead_after: float = 1.0
    seldom: float = 10.0

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "dead_after"):
            seconds(name, getattr(self, name), least="over 0")


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


jitter: float = 0.25
"""How much shorter a pause may be, by chance, as a share of it. The simulation has none."""


def jittered(pause: float) -> float:
    """A pause that is shorter by chance.

    Processes that have started at once, or have lost a server at once, shall not go on asking all
    at once.
    """
    return pause * (1 - jitter * random())


AGAIN: Final = Backoff(0.02, 1.0)
"""Before a transaction is tried again, at most: a conflict is over soon, a failover is not."""

ALIKE: Final = 0.005
"""Two servers are alike if a read takes less than so much longer at one of them."""

DISCOVERY: Final = 5.0
"""Between two questions which replicas there are: a server that was added has time."""

DISCOVERY_TIMEOUT: Final = 5.0
"""A question that takes longer has failed."""

MISSES: Final = 2
"""A replica that is missing from so many answers in a row is gone."""

DRAIN: Final = 5.0
"""How long reads in flight on a replica that is removed may go on."""

DRAIN_POLL: Final = 0.02
"""Between two looks whether there are any."""

FAR_BEHIND: Final = 600.0
"""A replica that is further behind is reported as such."""

FORGET: Final = 10.0
"""In so many seconds a third is left of what a slow answer says of its server."""

PROBES: Final = 3
"""The fastest of so many probes counts: the others may have met something else that took time."""

HEARTBEAT: Final = 1.0
"""Between probes of a server while no session waits: the longest time until an error is noticed."""

POLL: Final = Backoff(0.002, 0.02)
"""Between probes while a session waits. Replicas are some milliseconds behind as a rule; a probe
takes about a tenth of a millisecond of a server's time."""

RETRY: Final = Backoff(0.1, 5.0)
"""Between probes of a server that fails: a restart takes about a second, an outage longer."""

PROBE: Final = 5.0
"""A probe of a server that is reached by no network has failed if it takes longer."""

SLICES: Final = 5
"""A probe is given up after so many parts of its time, in each of which this process could hear the
answer: else a process that was held up would take all its servers for dead."""

LATE: Final = 2.0
"""A part that takes so many times as long as it should does not count."""

MOST: Final = 10 * SLICES
"""The most parts, with those that do not count, or in which a busy server answered others."""

SELDOM: Final = Backoff(HEARTBEAT, 10.0)
"""Between probes of a server that sessions of this process do not use: with thousands of processes,
those are most. The first read there has it probed at once."""

UNUSED: Final = 5.0
"""A server that no session has used for so long is probed seldom."""

IDLE: Final = 1.0
"""A connection that was not used for so long is tried before it is used: a firewall, or a restart
of the server, may have ended it."""

FORGOTTEN: Final = 230.0
"""A connection that was not used for so long is made anew, and not tried: balancers forget it after
240 s (Azure) or 350 s (AWS) without a word, and to try it would take all of `Limits.dead_after`."""

WAIT_FOR_REPLICA: Final = 1.0
"""A read that gets no connection to a replica for so long goes to another server."""

WAIT_FOR_PRIMARY: Final = 10.0
"""A transaction that gets no connection to the primary for so long fails: a user has gone
by then."""

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
