"""The placing of reads: the server that a transaction reads from, and the connection to it.

All of it runs inside SQLAlchemy's greenlet.
"""

from asyncio import get_running_loop

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm._greenlet import await_
from orm.bookmark import Bookmark
from orm.exceptions import NoPrimary, NotCaughtUp
from orm.routing.decision import Reason, Route, choose, describe, route_to
from orm.routing.fence import Fence
from orm.routing.locating import Locator
from orm.routing.memory import NO_EPOCH, SessionMemory
from orm.routing.rules import Rules
from orm.routing.transaction import Transaction
from orm.servers.cluster import Cluster
from orm.servers.server import CANNOT_CONNECT, Server, why
from orm.servers.timing import ROLE_CHANGES

__all__ = ["ReadPlacement"]


class ReadPlacement:
    """Opens the connections that one session reads from.

    Args:
        cluster: the servers.
        rules: of all sessions.
        memory: what the session has seen.
        locator: locates it, and checks it against the primary.
        fence: holds the session back until the primary shows it.
    """

    def __init__(
        self,
        cluster: Cluster,
        rules: Rules,
        memory: SessionMemory,
        locator: Locator,
        fence: Fence,
    ) -> None:
        self._cluster = cluster
        self._rules = rules
        self._memory = memory
        self._locator = locator
        self._fence = fence

    def open(self, transaction: Transaction) -> tuple[Connection, Route]:
        """Pin a transaction to the server that it reads from.

        Returns:
            The connection that it reads from, and why from there.

        Raises:
            NotCaughtUp: no server has all that the session must see, or the primary cannot serve.
            WriteLost: what it must see is not in the database any more.
        """
        cluster, rules, memory = self._cluster, self._rules, self._memory
        waited, clock = 0.0, get_running_loop().time
        # One for all waits together: an address may lead to several servers in turn.
        deadline = clock() + rules.max_wait
        turn = next(rules.turns)
        replicas = [server for server in cluster.replicas if server not in transaction.failed]
        if cluster.shared and transaction.read_only:
            replicas = []
        crowded = False
        at_once = Reason.UNLINKED if memory.is_blank else Reason.CAUGHT_UP
        while not memory.first_primary:
            now, need = clock(), self._need()
            chosen = choose(
                need or memory.bookmark,
                replicas if need else (),
                last=memory.unlocated,
                turn=turn,
                now=now,
                zones=rules.zones,
                may_wait=now < deadline,
            )
            if isinstance(chosen, Server):
                if memory.unlocated not in (None, chosen):
                    # The session moves: now it matters what it has seen at the last server.
                    self._locator.locate(transaction)
                    continue
                try:
                    connection = self._connect(transaction, chosen, now)
                except PoolTimeout:
                    replicas.remove(chosen)
                    if not replicas and not rules.fallback:
                        raise
                    crowded = True
                    if memory.unlocated is chosen:
                        # The replica has no connection to be asked on.
                        self._locator.locate_at_primary(transaction)
                    continue
                if connection is not None:
                    reason = Reason.WAITED if waited else at_once
                    transaction.pin(chosen, connection)
                    return connection, route_to(chosen, reason, waited)
            elif (
                not self._locator.is_checked() and self._locator.check(transaction) == "start over"
            ):
                continue
            elif chosen == "wait":
                left = deadline - clock()
                waited += await_(cluster.watcher.wait(need or memory.bookmark, replicas, left))
            else:
                break
        return self._open_primary(transaction, waited, crowded=crowded)

    def _need(self) -> Bookmark | None:
        """What a replica must have; None if it is not known what would be new enough."""
        memory, cluster = self._memory, self._cluster
        if memory.max_staleness is None:
            return memory.bookmark
        since = cluster.past.since(get_running_loop().time() - memory.max_staleness)
        if since is None:
            cluster.primary.nudge()  # it was not asked for that long
            return None
        if since.history != memory.bookmark.history:
            return None
        return memory.bookmark.merge(since)

    def _connect(self, transaction: Transaction, server: Server, now: float) -> Connection | None:
        """Connect to a replica; None if it does not have what is needed after all."""
        server.use(now)
        try:
            connection = _engine(transaction, server).connect()
        except CANNOT_CONNECT as error:
            server.fail(error)
            return None
        try:
            if self._may_read(transaction, server, connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _may_read(self, transaction: Transaction, server: Server, connection: Connection) -> bool:
        """Whether a connection to a replica shows all that the session must see."""
        cluster, memory, known = self._cluster, self._memory, server.knowledge
        backend, epoch = cluster.backend, cluster.epoch.number
        try:
            if server.shared or backend.incarnation(connection) != known.incarnation:
                known = server.ask(connection)  # the knowledge is of another incarnation
                epoch = cluster.epoch.number
                if not server.shared:  # else the next transaction may be on another server
                    connection.rollback()  # so that the read's snapshot is a later one
            if not connection.in_transaction():
                connection.begin()
            incarnation = backend.incarnation(connection)  # a pooler's is known by now
        except DBAPIError as error:
            if not transaction.loses(server, error):
                server.fail(error)
            return False
        if memory.unlocated is server and memory.incarnation != incarnation:
            # The incarnation that the session has read from is gone, and this one may be older.
            self._locator.locate_at_primary(transaction)
        # Not `server.knowledge`: that may be of a newer incarnation than this connection's.
        need = self._need()
        if need is None or known.at is None or not known.at.covers(need):
            return False
        memory.checked_epoch = epoch
        memory.proved(cluster.roles)
        if cluster.epoch.is_after(known.at):
            epoch = NO_EPOCH  # it may follow a primary that was replaced, and show its lost writes
        memory.reads(server, incarnation, epoch)
        return True

    def _open_primary(
        self, transaction: Transaction, waited: float, *, crowded: bool
    ) -> tuple[Connection, Route]:
        cluster, memory = self._cluster, self._memory
        if memory.first_primary:
            reason = Reason.STRAY_BOOKMARK if memory.stray else Reason.FIRST_PRIMARY
        elif not cluster.replicas:
            reason = Reason.NO_REPLICAS
        elif cluster.shared and transaction.read_only:
            reason = Reason.ONE_SNAPSHOT
        elif self._rules.fallback:
            reason = Reason.CROWDED if crowded else Reason.FALLBACK
        else:
            raise NotCaughtUp(self._no_server("the primary is not asked (fallback=False)"))
        fenced = 0.0
        for _ in range(ROLE_CHANGES):
            fenced += self._fence.pass_to_primary(transaction)
            primary, epoch = cluster.primary, cluster.epoch.number
            if primary in transaction.failed:
                break  # a replica that failed, and was promoted then
            try:
                connection = self._connect_primary(transaction, primary)
            except CANNOT_CONNECT as error:
                if transaction.loses(primary, error):
                    continue
                if reason in (Reason.CROWDED, Reason.FALLBACK):
                    raise NoPrimary(self._no_server(f"the primary: {why(error)}")) from error
                cluster.require_reached(primary, error)
                raise
            if connection is not None:
                memory.reads(primary, cluster.backend.incarnation(connection), epoch)
                transaction.pin(primary, connection)
                return connection, route_to(primary, reason, waited, fenced)
            cluster.watcher.nudge()
        cause = cluster.primary.knowledge.error or "it has changed"
        raise NoPrimary(self._no_server(f"the primary: {cause}"))

    def _connect_primary(self, transaction: Transaction, primary: Server) -> Connection | None:
        """Connect to the primary; None if another server or incarnation is the primary by now."""
        primary.use(get_running_loop().time())
        connection = _engine(transaction, primary).connect()
        try:
            if self._cluster.leads_to_primary(primary, connection) and self._locator.is_checked():
                if not connection.in_transaction():  # it is in one if it was asked just now
                    connection.begin()
                return connection
            connection.invalidate()  # else its pool hands it out again
        except BaseException:
            connection.close()
            raise
        return None

    def _no_server(self, primary: str) -> str:
        """Why no server can serve a read, for an error message."""
        need, bound = self._need(), self._memory.max_staleness
        replicas = describe(need or self._memory.bookmark, self._cluster.replicas)
        if need is None:
            replicas += (
                f"; of none it is known that it is at most {bound:g} s behind (max_staleness), "
                "since the primary has not said for so long where it is"
            )
        elif bound is not None:
            replicas += f" what the primary had {bound:g} s ago, or what the session has seen"
        return f"no server can serve this read: {replicas}; {primary}"


def _engine(transaction: Transaction, server: Server) -> Engine:
    """The engine from which a transaction takes its connection to a server."""
    engine = server.snapshots if transaction.read_only else server.engine.sync_engine
    if server in transaction.lost:
        # SQLAlchemy's session takes one connection of an engine. This one is new, on the same pool.
        return engine.execution_options()
    return engine
