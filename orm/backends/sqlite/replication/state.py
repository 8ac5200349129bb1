"""What a replicator's callers and its thread tell each other."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orm.backends.sqlite.replication.errors import GivenUpError, ReplicationError
from orm.backends.sqlite.replication.position import Position

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class State:
    """What callers want of the thread, and what the thread tells them.

    Plain attributes may be read without the lock. A caller that changes one that a wait depends on
    takes the lock for it, and notifies.
    """

    def __init__(self) -> None:
        """Begin unpaused and without lag; the thread has told nothing yet."""
        self.changed: threading.Condition = threading.Condition(threading.Lock())
        self.stopping: bool = False
        self.paused: bool = False
        self.lag: float = 0.0
        self.woken: bool = False
        self.resting: bool = False
        """Whether the thread looks at `woken` later, and is not to be disturbed for it."""
        self.damaged: str | None = None
        self.ready: bool = False
        """Whether there is a replica that can be read."""
        self.leading: bool = False
        self.reached: tuple[str, Position] | None = None
        """The incarnation that the thread has brought up to a position."""
        self.error: BaseException | None = None
        self.landing: threading.Thread | None = None
        """The thread, while it may change the replica's files."""

    def begin(self) -> None:
        """Forget what an earlier thread has told; what callers want stays."""
        self.stopping = self.ready = self.woken = False
        self.damaged = self.error = self.reached = None

    def answered(self) -> bool:
        """Whether a start has succeeded, or failed."""
        return self.ready or self.stopping or self.error is not None

    def set(
        self,
        *,
        stopping: bool | None = None,
        paused: bool | None = None,
        lag: float | None = None,
        damaged: str | None = None,
        ready: bool | None = None,
    ) -> None:
        """Change the given attributes, and wake every wait to look again."""
        with self.changed:
            self.stopping = self.stopping if stopping is None else stopping
            self.paused = self.paused if paused is None else paused
            self.lag = self.lag if lag is None else lag
            self.damaged = self.damaged if damaged is None else damaged
            self.ready = self.ready if ready is None else ready
            self.changed.notify_all()

    def wake(self) -> None:
        """Let the thread look for something new now."""
        # The thread takes the flag down before it looks, so one that is still up will do.
        if not self.woken:
            with self.changed:
                self.woken = True
                if not self.resting:
                    self.changed.notify_all()

    def take_damaged(self) -> str | None:
        """Return the incarnation that a reader found damaged, and forget it."""
        with self.changed:
            damaged, self.damaged = self.damaged, None
            return damaged

    def fail(self, error: BaseException) -> None:
        """The last pass has failed."""
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def wait(self, seconds: float | None, until: Callable[[], bool]) -> bool:
        """Wait until a condition holds.

        Returns:
            Whether it holds.
        """
        with self.changed:
            return self.changed.wait_for(until, seconds)

    def rest(self, seconds: float) -> None:
        """Wait, unless the thread is to end, whatever else is new."""
        with self.changed:
            self.resting = True
            try:
                self.changed.wait_for(lambda: self.stopping, seconds)
            finally:
                self.resting = False

    def wait_lag(self, seconds: float) -> None:
        """Wait for a part of the lag, unless it changes or nothing shall land any more."""
        lag = self.lag
        self.wait(seconds, lambda: self.stopping or self.paused or self.lag != lag)

    @contextmanager
    def may_land(self) -> Iterator[None]:
        """The block may change the replica's files.

        Raises:
            GivenUpError: It must not change now.
        """
        with self.changed:
            self.go_on()
            self.landing = threading.current_thread()
        try:
            yield
        finally:
            with self.changed:
                self.landing = None
                self.changed.notify_all()

    def go_on(self) -> None:
        """Raise `GivenUpError` when the replica must not change any more."""
        if self.stopping or self.paused:
            raise GivenUpError

    def progress(self, status: int, remaining: int, total: int) -> None:
        """Called by SQLite's backup after each step; to raise here undoes the whole backup.

        Raises:
            GivenUpError: It must not land.
            ReplicationError: Another program holds the file.
        """
        if status & 0xFF in _LOCKED:  # sqlite3 would try again, without end
            raise ReplicationError(
                "another program locks the replica: only the replicator may write to it"
            )
        if status != sqlite3.SQLITE_DONE:
            self.go_on()
