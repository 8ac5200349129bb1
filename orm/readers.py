"""Where a transaction reads: the server, and the connection to it.

All of it runs inside SQLAlchemy's greenlet.
"""

from asyncio import get_running_loop

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm._greenlet import await_
from orm.cluster import Cluster
from orm.exceptions import NotCaughtUp
from orm.routing import Reason, Route, choose, describe, route_to
from orm.server import Server
from orm.sightings import CANNOT_CONNECT, TRIES, Sightings
from orm.tracker import NO_LINEAGE, Tracker
from orm.unit import Unit

__all__ = ["Readers"]


class Readers:
    """Opens the connections that one session reads from.

    Args:
        cluster: the servers, and the rules.
        tracker: what the session has seen.
        sightings: keeps that true.
    """

    def __init__(self, cluster: Cluster, tracker: Tracker, sightings: Sightings) -> None:
        self._cluster = cluster
        self._tracker = tracker
        self._sightings = sightings

    def open(self, unit: Unit) -> tuple[Connection, Route]:
        """The connection that a transaction reads from, as `unit` says from then on, and why.

        Raises:
            NotCaughtUp: no server has all that the session must see.
            WriteLost: what it must see is not in the database any more.
        """
        cluster, tracker = self._cluster, self._tracker
        waited, clock = 0.0, get_running_loop().time
        deadline = clock() + cluster.max_wait  # servers behind one address may answer in turn
        turn = next(cluster.turns)
        replicas = [server for server in cluster.replicas if server not in unit.failed]
        if cluster.shared and unit.read_only:
            replicas = []
        crowded = False
        while not tracker.first_primary:
            chosen = choose(
                tracker.bookmark,
                replicas,
                last=tracker.unsampled,
                turn=turn,
                may_wait=clock() < deadline,
            )
            if isinstance(chosen, Server):
                if tracker.unsampled not in (None, chosen):
                    # Moving: now it matters what was seen at the last server.
                    self._sightings.settle(unit)
                    continue
                try:
                    connection = self._connect(unit, chosen)
                except PoolTimeout:
                    replicas.remove(chosen)
                    if not replicas and not cluster.fallback:
                        raise
                    crowded = True
                    if tracker.unsampled is chosen:
                        self._sightings.settle_at_primary(unit)  # it cannot be asked
                    continue
                if connection is not None:
                    reason = Reason.WAITED if waited else Reason.CAUGHT_UP
                    return _pinned(unit, chosen, connection, waited, reason)
            elif tracker.proven != cluster.lineage and self._sightings.prove(unit):
                continue
            elif chosen == "wait":
                left = deadline - clock()
                waited += await_(cluster.watcher.wait(tracker.bookmark, replicas, left))
            else:
                break
        return self._open_primary(unit, waited, crowded=crowded)

    def _connect(self, unit: Unit, server: Server) -> Connection | None:
        """Connect to a replica; None if it turns out not to have what is needed."""
        engine = server.snapshots if unit.read_only else server.engine.sync_engine
        try:
            connection = engine.connect()
        except CANNOT_CONNECT as error:
            server.fail(error)
            return None
        try:
            if self._may_read(unit, server, connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _may_read(self, unit: Unit, server: Server, connection: Connection) -> bool:
        """Whether a connection to a replica shows all that the session must see."""
        tracker = self._tracker
        backend, known, lineage = self._cluster.backend, server.knowledge, self._cluster.lineage
        try:
            if server.shared or backend.incarnation(connection) != known.incarnation:
                known = server.ask(connection)  # what is known is of another incarnation
                lineage = self._cluster.lineage
                if not server.shared:  # else the server may change with the transaction
                    connection.rollback()  # so that the read's snapshot is a later one
            if not connection.in_transaction():
                connection.begin()
            incarnation = backend.incarnation(connection)
        except DBAPIError as error:
            server.fail(error)
            return False
        if tracker.unsampled is server and tracker.incarnation != incarnation:
            # What we read from is gone, and its successor may be older.
            self._sightings.settle_at_primary(unit)
        # By now the server may be known as another incarnation than this connection leads to.
        if known.at is None or not known.at.covers(tracker.bookmark):
            return False
        tracker.proven = lineage
        head = self._cluster.head
        if head is not None and self._cluster.backend.is_later(head, known.at):
            lineage = NO_LINEAGE  # it may go on after a primary that was replaced
        tracker.reads(server, incarnation, lineage)
        return True

    def _open_primary(
        self, unit: Unit, waited: float, *, crowded: bool
    ) -> tuple[Connection, Route]:
        cluster, tracker = self._cluster, self._tracker
        if tracker.first_primary:
            reason = Reason.STRAY_BOOKMARK if tracker.stray else Reason.FIRST_PRIMARY
        elif not cluster.replicas:
            reason = Reason.NO_REPLICAS
        elif cluster.shared and unit.read_only:
            reason = Reason.ONE_SNAPSHOT
        elif cluster.fallback:
            reason = Reason.CROWDED if crowded else Reason.FALLBACK
        else:
            raise self._not_caught_up("the primary is not asked (fallback=False)")
        for _ in range(TRIES):
            self._sightings.await_primary(unit)
            primary, lineage = cluster.primary, cluster.lineage
            if primary in unit.failed:
                break  # a replica that failed, and was promoted then
            try:
                connection = self._connect_primary(unit, primary)
            except CANNOT_CONNECT as error:
                if reason not in (Reason.CROWDED, Reason.FALLBACK):
                    raise
                why = getattr(error, "orig", None) or error
                raise self._not_caught_up(f"the primary: {why}") from error
            if connection is not None:
                tracker.reads(primary, cluster.backend.incarnation(connection), lineage)
                return _pinned(unit, primary, connection, waited, reason)
            cluster.watcher.nudge()
        raise self._not_caught_up(f"the primary: {cluster.primary.knowledge.error or 'it changed'}")

    def _connect_primary(self, unit: Unit, primary: Server) -> Connection | None:
        """Connect to the primary; None if it is not what it was."""
        engine = primary.snapshots if unit.read_only else primary.engine.sync_engine
        connection = engine.connect()
        try:
            if self._sightings.is_proven(primary, connection):
                if not connection.in_transaction():  # as it is if it was asked just now
                    connection.begin()
                return connection
            connection.invalidate()  # its pool would hand it out again
        except BaseException:
            connection.close()
            raise
        return None

    def _not_caught_up(self, primary: str) -> NotCaughtUp:
        replicas = describe(self._tracker.bookmark, self._cluster.replicas)
        return NotCaughtUp(f"no server can serve this read: {replicas}; {primary}")


def _pinned(
    unit: Unit, server: Server, connection: Connection, waited: float, reason: Reason
) -> tuple[Connection, Route]:
    unit.server, unit.connection = server, connection
    unit.held += (connection,)
    return connection, route_to(server, waited, reason)
