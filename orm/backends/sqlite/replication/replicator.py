"""The replicator: keeps one replica file up to date, in a thread of its own."""

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orm.backends.sqlite.replication.errors import ReplicationError
from orm.backends.sqlite.replication.incarnations import incarnation as current
from orm.backends.sqlite.replication.state import State
from orm.backends.sqlite.replication.worker import Worker
from orm.bookmark import Bookmark

_LONGEST_STOP: Final = 60.0


class Replicator:
    """Keeps a replica of an SQLite database up to date, in the background.

    Each pass copies the source, as one committed state of it, over the replica in one
    transaction (SQLite "Online Backup API"), so a reader sees the state before or after, and
    commits that come meanwhile go together into the next pass. A reader opens the replica's path
    with ``mode=ro``. It leads to a file that only ever moves forward; when that is impossible,
    since it was damaged or the source went back in time, the path is turned to a new file: see
    `orm.backends.sqlite.replication.incarnations`.

    Of all replicators of one replica, in whatever process, one works, and the others stand by to
    take over when it stops or dies. All methods but `start` and `stop`, which belong to one
    owner, may be called from any thread. A process that forks makes a new replicator.
    """

    def __init__(
        self,
        source: Path,
        replica: Path,
        *,
        poll: float = 0.01,
        landed: Callable[[], None] | None = None,
    ) -> None:
        """Name the files; nothing is opened yet.

        Args:
            source: The database, in WAL mode. It is never created, and never written to.
            replica: The path that readers open; whatever database is there is replaced. Beside
                it come the files it leads to, named after it, and ``…-lock``.
            poll: Seconds between two looks for commits that `wake` did not announce.
            landed: Called in the thread after each pass that changed the replica, also when
                another process made it; to be quick.

        Raises:
            ValueError: The two are one file, or `poll` is not positive.
        """
        self.source: Final = source.absolute()
        self.replica: Final = replica.parent.resolve() / replica.name
        if self.source.resolve() in (self.replica, self.replica.resolve()):
            raise ValueError(f"a replica needs a path of its own, not its source's: {replica}")
        if not 0 < poll < math.inf:
            raise ValueError(f"poll is a number of seconds above 0, not {poll}")
        self._poll = poll
        self._landed = landed
        self._state = State()
        self._thread: threading.Thread | None = None

    def start(self, timeout: float = 60.0) -> None:
        """Begin, and return when there is a replica to read.

        A replica that an earlier life left behind goes on from there. Without a lag it is as new
        as the source was at the call. Does nothing when it runs already.

        Args:
            timeout: Seconds to wait for another process that holds the lock to make it.

        Raises:
            ReplicationError: There is no replica and none can be made; nothing runs then.
        """
        if self._thread is not None:
            if not self._state.stopping:
                return
            self.stop()  # one that the callback ended is waited for
        if os.name != "posix":
            raise ReplicationError(
                "embedded replicas need a POSIX system, since SQLite on others does not follow "
                "symbolic links: run on one (WSL will do), or use PostgreSQL replicas"
            )
        state = self._state
        state.begin()
        worker = Worker(state, self.source, self.replica, self._poll, self._landed)
        self._thread = threading.Thread(
            target=worker.run, name=f"replicator of {self.replica.name}", daemon=True
        )
        self._thread.start()
        while not state.wait(timeout, state.answered):
            if not state.leading:  # a copy of our own may take as long as it takes
                self.stop()
                raise ReplicationError(
                    f"another process holds {self.replica}-lock, and has made no replica within "
                    f"{timeout:g} s: look at what keeps it, or stop it"
                )
        if not state.ready:
            error = state.error
            self.stop()
            if isinstance(error, ReplicationError):
                raise error
            raise ReplicationError(f"the replica {self.replica} cannot be made: {error}") from error

    def stop(self) -> None:
        """End the thread, free the lock and close all files, which stay for the next start.

        A copy in progress is undone; at most one move of pages from the WAL is waited for. Does
        nothing when it does not run.

        Raises:
            ReplicationError: The thread hangs, in a file system that does not answer.
        """
        self._state.set(stopping=True)
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(_LONGEST_STOP)
        if thread.is_alive():
            raise ReplicationError(
                f"the replicator of {self.replica} did not stop within {_LONGEST_STOP:g} s: look "
                "at the file system, which does not answer"
            )
        self._thread = None

    def wake(self) -> None:
        """Look now: a commit has just happened."""
        self._state.wake()

    def reached(self) -> tuple[str, Bookmark] | None:
        """The incarnation that the latest pass has made or moved, and where to.

        Returns:
            ``None`` when another process works, or the source has no position.
        """
        reached = self._state.reached
        if reached is None:
            return None
        name, position = reached
        return name, Bookmark.at(*position)

    def rebuild(self, incarnation: str | None = None) -> None:
        """Make a new file: a reader found the replica damaged.

        Args:
            incarnation: The one that was damaged; if another has replaced it, nothing
                happens. By default it is the current one.
        """
        self._state.set(damaged=incarnation or current(self.replica) or "")

    @property
    def lag(self) -> float:
        """Seconds by which the replica follows: each pass lands the source as it was then.

        It can be set at any time, and counts at once, also for a copy that waits. The wait holds
        a snapshot of the source, whose WAL grows meanwhile. The first copy into a new file does
        not wait, since there is nothing older to read.
        """
        return self._state.lag

    @lag.setter
    def lag(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            raise ValueError(f"lag is a number of seconds from 0 up, not {seconds}")
        self._state.set(lag=float(seconds))

    def pause(self) -> None:
        """Let nothing more land, from this replicator or from one that stands by for it.

        When it returns, the replica's files do not change until `resume`. No snapshot of the
        source is held.
        """
        state = self._state
        state.set(paused=True)
        state.wait(None, lambda: state.landing in (None, threading.current_thread()))

    def resume(self) -> None:
        """Go on after `pause`."""
        self._state.set(paused=False)

    @property
    def paused(self) -> bool:
        """Whether `pause` was called, and `resume` not yet."""
        return self._state.paused

    @property
    def leading(self) -> bool:
        """Whether this replicator does the work; else another process does, or none."""
        return self._state.leading

    @property
    def error(self) -> BaseException | None:
        """Why the last pass failed; ``None`` when it worked."""
        return self._state.error
