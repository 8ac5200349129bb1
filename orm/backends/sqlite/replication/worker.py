"""What the thread of a replicator does."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from orm.backends.sqlite.replication.errors import GivenUpError, ReplicationError, explained
from orm.backends.sqlite.replication.files import readable, stat
from orm.backends.sqlite.replication.incarnations import incarnation, sweep
from orm.backends.sqlite.replication.lock import Lock
from orm.backends.sqlite.replication.pace import Pace
from orm.backends.sqlite.replication.position import Position, goes_back
from orm.backends.sqlite.replication.remarks import Remarks
from orm.backends.sqlite.replication.source import Source, require
from orm.backends.sqlite.replication.state import State
from orm.backends.sqlite.replication.target import Target, adopt, seed

_LOOK: Final = 0.05
"""Seconds between two looks at the files, which cost more than to ask SQLite for news."""
_TOGETHER: Final = 0.01
"""Seconds from a copy to the next at least: commits in between go together into that one."""
_RETRY: Final = 0.25
"""Seconds between two tries for a lock that another process holds."""
_SWEEP: Final = 1.0
"""Seconds between two tries to remove files that a reader has open."""
_LONGEST_BACKOFF: Final = 1.0


class Worker:
    """One life of a replicator's thread: `run`, until it is to stop."""

    def __init__(
        self,
        state: State,
        source: Path,
        replica: Path,
        poll: float,
        landed: Callable[[], None] | None,
    ) -> None:
        """Keep the arguments; nothing is opened yet."""
        self._state = state
        self._source_file = source
        self._replica = replica
        self._poll = poll
        self._landed = landed
        self._remarks = Remarks(source, replica)
        self._lock = Lock(replica.with_name(f"{replica.name}-lock"), source)
        self._next_try = 0.0
        self._source: Source | None = None
        self._target: Target | None = None
        self._copied: int | None = None
        """The source's version that the target has."""
        self._distrust = False
        """Whether to make a new file, whatever the present one looks like."""
        self._next_look = 0.0
        self._next_sweep: float | None = None
        self._backoff = 0.0
        self._seen: object = None

    def run(self) -> None:
        """Keep the replica up to date."""
        state = self._state
        self._pace = Pace()
        with ExitStack() as stack:
            stack.callback(self._leave)
            while not state.stopping:
                rest = self._turn()
                if rest:
                    state.rest(rest)
                state.wait(
                    self._poll - rest,
                    lambda: state.stopping or state.woken or state.damaged is not None,
                )

    def _turn(self) -> float:
        """Look once, and copy what is new.

        Returns:
            Seconds until the next look.
        """
        state = self._state
        rest = 0.0
        try:
            if self._nothing_new():
                pass
            elif not self._leads():
                self._stand_by()
            elif state.paused:
                self._sit_out()
            else:
                with state.may_land(), explained(f"the replica {self._replica} stays behind"):
                    rest = self._replicate()
        except GivenUpError:
            return 0.0
        except BaseException as error:  # noqa: BLE001 - reported, and the thread goes on
            self._close_source()
            self._report(error)
            self._backoff = min(_LONGEST_BACKOFF, max(self._poll, 2 * self._backoff))
            return self._backoff
        self._backoff = 0.0
        return rest

    def _nothing_new(self) -> bool:
        """Whether there is nothing new: the usual case, found as cheaply as possible."""
        state = self._state
        if (
            self._source is None
            or self._copied is None
            or state.paused
            or state.damaged is not None
            or time.monotonic() >= self._next_look
        ):
            return False
        state.woken = False
        try:
            return self._source.version() == self._copied
        except sqlite3.Error:
            return False  # the full look meets it again

    def _leads(self) -> bool:
        now = time.monotonic()
        if not self._lock.held:
            if now < self._next_try:
                return False
            self._next_try = now + _RETRY
            require(self._source_file)
        try:
            with explained(f"the replica {self._replica} cannot be locked"):
                leads = self._lock.acquire()
        finally:
            self._state.leading = self._lock.held
        if not leads:
            self._state.error = None
        return leads

    def _stand_by(self) -> None:
        """Another process keeps the replica up to date: pass on what it does."""
        self._close_source()
        self._close_target()
        state = self._state
        name = incarnation(self._replica)
        damaged = state.take_damaged()
        if name is not None and damaged == name:
            # It looks at the time of the last change, to find what did not come from itself.
            os.utime(self._replica)
        seen = (name, stat(self._replica), stat(self._replica.with_name(f"{name}-wal")))
        if not state.ready:
            if readable(self._replica):
                state.set(ready=True)
        elif seen != self._seen:
            self._tell()
        self._seen = seen

    def _sit_out(self) -> None:
        state = self._state
        if not state.ready:
            if not readable(self._replica):
                raise ReplicationError(
                    f"there is no replica {self._replica} yet, and none can be made while it is "
                    "paused: call resume() first"
                )
            state.set(ready=True)
        state.wait(_RETRY, lambda: state.stopping or not state.paused)

    def _replicate(self) -> float:
        state = self._state
        state.woken = False
        self._next_look = time.monotonic() + _LOOK
        source = self._open_source()
        target = self._open_target()
        if target is not None and source.version() == self._copied:
            self._sweep()
            return self._pace.rest(settle=target.tidy())
        if target is not None and target.overgrown():
            state.set(ready=True)
            raise ReplicationError(
                f"the replica {self._replica} waits for a reader that holds on to an old state of "
                "it, and so to all that was written since: end that reader's transaction"
            )
        with source.snapshot() as version:
            position = source.position()
            if target is None or goes_back(target.position, position):
                target = self._seed(source)
            else:
                self._hold(source, target)
                target = self._copy(source, target, position)
            self._copied = version
        state.reached = None if position is None else (target.file.name, position)
        self._works()
        self._tell()
        return max(_TOGETHER, self._pace.rest(settle=target.tidy()))

    def _works(self) -> None:
        self._remarks.works()
        self._state.error = None
        self._state.set(ready=True)

    def _open_source(self) -> Source:
        if self._source is not None and self._source.replaced():
            self._close_source()
        if self._source is None:
            self._source = Source(self._source_file)
        return self._source

    def _open_target(self) -> Target | None:
        """The file to go on with, or `None` for a new one."""
        if self._target is None and not self._distrust:
            self._target = adopt(self._replica)
            self._next_sweep = 0.0
        damaged = self._state.take_damaged()
        target = self._target
        if target is not None and (damaged == target.file.name or not target.intact()):
            self._remarks.damaged("it was changed, or is damaged")
            self._close_target()
            self._distrust = True
        return self._target

    def _hold(self, source: Source, target: Target) -> None:
        """Wait until a snapshot is as old as the lag, before it lands."""
        state = self._state
        since = time.monotonic()
        while (left := since + state.lag - time.monotonic()) > 0:
            if not state.ready:
                state.set(ready=True)
            state.wait_lag(min(left, self._poll))
            state.go_on()
            if state.damaged is not None or not target.intact() or not self._lock.acquire():
                raise GivenUpError
        self._remarks.held(state.lag, source.wal_bytes())

    def _copy(self, source: Source, target: Target, position: Position | None) -> Target:
        began = time.monotonic()
        try:
            target.copy(source, position, self._state.progress)
        except (sqlite3.Error, ReplicationError) as error:
            self._remarks.damaged(str(error))
            self._distrust = True
            return self._seed(source)
        self._remarks.copied(time.monotonic() - began)
        return target

    def _seed(self, source: Source) -> Target:
        began = time.monotonic()
        with explained(f"the replica {self._replica} cannot be made"):
            target = seed(self._replica, source, self._state.progress)
        self._remarks.copied(time.monotonic() - began)
        self._close_target()
        self._target = target
        self._distrust = False
        self._next_sweep = 0.0
        return target

    def _sweep(self) -> None:
        now = time.monotonic()
        if self._next_sweep is not None and now >= self._next_sweep:
            self._next_sweep = now + _SWEEP
            if sweep(self._replica):
                self._next_sweep = None

    def _tell(self) -> None:
        if self._landed is not None:
            try:
                self._landed()
            except BaseException as error:  # noqa: BLE001 - as above
                self._report(error)

    def _report(self, error: BaseException) -> None:
        self._remarks.failed(error)
        self._state.fail(error)

    def _close_source(self) -> None:
        self._copied = None
        if self._source is not None:
            source, self._source = self._source, None
            source.close()

    def _close_target(self) -> None:
        self._copied = self._state.reached = None
        if self._target is not None:
            target, self._target = self._target, None
            target.close()

    def _leave(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._lock.release)
            stack.callback(self._close_source)
            stack.callback(self._close_target)
        self._state.leading = False
