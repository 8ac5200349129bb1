"""How long to rest between passes."""

import time


class Pace:
    """Keeps copying down to about half of one core.

    Counted is the processor time of the calling thread: waiting for the disk is rest. After a
    copy it rests for half of what it used, which keeps the next commit's way short; the remainder
    is due when a checkpoint comes, every few copies.
    """

    def __init__(self) -> None:
        """Begin to count; to be called in the thread that works."""
        self._wall = time.monotonic()
        self._used = time.thread_time()
        self._owed = 0.0

    def rest(self, *, settle: bool) -> float:
        """How long to rest now.

        Args:
            settle: Pay all that is owed.

        Returns:
            Seconds.
        """
        wall, used = time.monotonic(), time.thread_time()
        work, passed = used - self._used, wall - self._wall
        self._wall, self._used = wall, used
        self._owed = max(0.0, self._owed + work - (passed - work))
        return self._owed if settle else min(self._owed, work / 2)
