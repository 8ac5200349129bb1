"""How fast a server answers, as reads find it."""

from collections import deque
from math import exp

from orm.servers.timing import FORGET, PROBES

__all__ = ["Speed"]


class Speed:
    """What a read takes at a server: the latest peak, which is forgotten bit by bit.

    After two slow answers in a row the server is taken for slow, after fast ones by and by: a
    moving average that follows peaks (Finagle's "Peak EWMA"). One alone may be a statement that
    takes long. A server that serves no reads is as fast as its probes say: so one that has
    recovered is used again, and one that is far is not tried again and again.
    """

    def __init__(self) -> None:
        self._peak = self._at = self._last = 0.0
        self._trips: deque[float] = deque([0.0], maxlen=PROBES)
        self._trip = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A read was answered.

        Args:
            seconds: after which it was.
            now: seconds on the event loop's clock.
        """
        both = min(self._last, seconds)
        self._last = seconds
        if both < self._peak:
            left = exp((self._at - now) / FORGET)
            both = self._peak * left + both * (1 - left)
        self._peak, self._at = both, now

    def probed(self, seconds: float) -> None:
        """A probe was answered.

        Args:
            seconds: after which it was, of a connection that existed.
        """
        self._trips.append(seconds)
        self._trip = min(self._trips)

    def seconds(self, now: float) -> float:
        """What a read takes there, about.

        Args:
            now: seconds on the event loop's clock.
        """
        if self._peak <= self._trip:
            return self._trip
        return max(self._peak * exp((self._at - now) / FORGET), self._trip)
