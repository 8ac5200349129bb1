"""How fast a server answers, as reads find it."""

from math import exp

from orm.servers.timing import FORGET

__all__ = ["Speed"]


class Speed:
    """What a read takes at a server: the latest peak, which is forgotten bit by bit.

    After a slow answer the server is taken for slow at once, after a fast one by and by: a moving
    average that follows peaks (Finagle's "Peak EWMA"). A server that serves no reads is as fast as
    its latest probe says: so one that has recovered is used again, and one that is far is not tried
    again and again.
    """

    def __init__(self) -> None:
        self._peak = self._at = self._trip = 0.0

    def took(self, seconds: float, now: float) -> None:
        """A read was answered.

        Args:
            seconds: after which it was.
            now: seconds on the event loop's clock.
        """
        kept = self._peak * self._left(now)
        self._peak = max(seconds, kept + seconds * (1 - self._left(now)))
        self._at = now

    def probed(self, seconds: float) -> None:
        """A probe was answered.

        Args:
            seconds: after which it was, of a connection that existed.
        """
        self._trip = seconds

    def seconds(self, now: float) -> float:
        """What a read takes there, about.

        Args:
            now: seconds on the event loop's clock.
        """
        return max(self._peak * self._left(now), self._trip)

    def _left(self, now: float) -> float:
        return exp((self._at - now) / FORGET)
