"""The fence: the primary shows what a session has seen on replicas before it serves the session.

A replica can show a commit a moment before the primary's own snapshots do, and for as long as a
synchronous replica keeps the commit waiting. All of it runs inside SQLAlchemy's greenlet.
"""

from asyncio import get_running_loop, sleep
from functools import partial

from sqlalchemy import Connection

from orm._greenlet import await_
from orm.backends import Fences
from orm.exceptions import PrimaryBehind
from orm.routing.locating import Locator
from orm.routing.memory import SessionMemory
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster
from orm.servers.server import CANNOT_CONNECT
from orm.servers.timing import COMMITTING, FENCE, FENCE_POLL

__all__ = ["Fence"]


class Fence:
    """Holds a session back until the primary has, and shows, all that the session has seen.

    Args:
        cluster: the servers.
        memory: what the session has seen.
        locator: locates it, and checks it against the primary.
    """

    def __init__(self, cluster: Cluster, memory: SessionMemory, locator: Locator) -> None:
        self._cluster = cluster
        self._memory = memory
        self._locator = locator

    def pass_to_primary(self, transaction: Transaction) -> float:
        """Return when the primary is known to have, and shows, all that the session has seen.

        Returns:
            Seconds that the transaction waited for the primary to show it.

        Raises:
            PrimaryBehind: the primary has not shown it for `FENCE` seconds.
            PrimaryChanged: the primary has changed several times meanwhile.
            NoPrimary: the primary that has it was not found.
            WriteLost: no primary will ever have it.
        """
        fences, memory, epoch = self._cluster.backend.fences, self._memory, self._cluster.epoch
        if transaction.fenced_epoch == epoch.number:
            return 0.0
        read = memory.unlocated
        if fences is not None and read is not None and read.role == "replica":
            self._locator.locate(transaction)
        if not self._locator.is_checked():
            self._locator.check(transaction)
        checked, waited = epoch.number, 0.0
        if fences is not None and memory.bookmark.shown:
            waited = self._cluster.ask_primary(partial(self._wait, transaction, fences))
            memory.passed_fence()
        if memory.checked_epoch == checked:  # else the primary could not be asked
            transaction.fenced_epoch = checked
        return waited

    def _wait(self, transaction: Transaction, fences: Fences, primary: Connection) -> float:
        clock, shown = get_running_loop().time, self._memory.bookmark.shown
        began, pause, paused, waited = clock(), 0.0, 0.0, 0.0
        hidden = fences.hidden(primary, shown)
        seen = self._seen_of(transaction, fences, hidden) if hidden else hidden
        while awaited := hidden if seen is None else hidden & seen:
            # The pauses count here, and not the clock: a server that is busy gets more time.
            if seen is None and paused > COMMITTING:
                awaited = fences.ending(primary, awaited)
                if not awaited:
                    break
            if waited > FENCE:
                raise PrimaryBehind(
                    f"the primary has not shown for {waited:.0f} s what was read on a replica: "
                    "does it wait for a synchronous standby?"
                )
            pause = FENCE_POLL.after(pause)
            await_(sleep(pause))
            paused += pause
            hidden = fences.hidden(primary, shown)
            waited = clock() - began
        return waited

    def _seen_of(
        self, transaction: Transaction, fences: Fences, hidden: frozenset[int]
    ) -> frozenset[int] | None:
        """The transactions among `hidden` that the session may have seen.

        A replica that has caught up with the session can tell: the session has not seen what such a
        replica does not show. None if no replica can tell.
        """
        need = self._memory.bookmark
        for server in self._cluster.replicas:
            try:
                if transaction.server is server and transaction.connection is not None:
                    return fences.shown(transaction.connection, hidden)
                with server.engine.sync_engine.connect() as connection:
                    at = server.ask(connection).at
                    if at is not None and at.covers(need):
                        return fences.shown(connection, hidden)
            except CANNOT_CONNECT as error:
                server.fail(error)
        return None
