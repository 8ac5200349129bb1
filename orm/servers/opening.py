"""Opening the servers of a `Database`, with a look at what cannot work; and closing them again."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

from sqlalchemy.exc import DBAPIError

from orm.backends import EmbeddedReplica
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, NoPrimary, ReplicaUnavailable
from orm.servers.cluster import Cluster
from orm.servers.discovery import Discovery
from orm.servers.server import Server, why

__all__ = ["close_servers", "open_servers"]

_log = logging.getLogger("orm.database")


async def open_servers(
    cluster: Cluster, embedded: Sequence[EmbeddedReplica], discovery: Discovery | None
) -> None:
    """Open the primary and the replicas, and begin all that runs in the background.

    A replica that cannot be reached is left out until it answers, and a primary that was replaced
    until it is a replica.

    Args:
        cluster: the servers.
        embedded: what keeps its replicas up to date, where the engine does not.
        discovery: what follows replicas that come and go.

    Raises:
        ReplicaUnavailable: a replica answered, or is embedded, and could not be opened.
        ConfigurationError: a replica is a copy of another database.
        NoPrimary: no server that answers is the primary.
        sqlalchemy.exc.DBAPIError: the primary answered, and could not be opened.
    """
    cluster.open_here()
    if not embedded:  # the servers may have changed roles since they were configured
        await cluster.primary.probe()
        await asyncio.gather(*(replica.probe() for replica in cluster.replicas))
    floor = await _open_primary(cluster)
    await _start(embedded)
    present = [replica for replica in cluster.replicas if not replica.unreachable]
    await asyncio.gather(*(replica.probe() for replica in present))
    for replica in cluster.replicas:
        _look_at(replica)
        at = replica.knowledge.at
        if at is not None and at.history != floor.history and not embedded:
            raise ConfigurationError(
                f"{_named(replica)} is a copy of another database than the primary: check the two "
                "URLs"
            )
    cluster.floor = cluster.roles.as_need(floor)
    cluster.watcher.start()
    if discovery is not None:
        await discovery.start()


async def _open_primary(cluster: Cluster) -> Bookmark:
    primary = cluster.primary
    try:
        async with primary.writer.begin() as connection:
            await connection.run_sync(cluster.backend.prepare)
    except (DBAPIError, OSError) as error:
        if cluster.backend.is_unreachable(error):
            raise NoPrimary(
                f"{_named(primary)} cannot be reached: {why(error)}. Does it run, and is the URL "
                "right? If another server is the primary now, give that one as the primary"
            ) from error
        error.add_note(f"{_named(primary)} cannot be opened")
        raise
    async with primary.engine.connect() as connection:
        await connection.run_sync(primary.ask)
        caveat = await connection.run_sync(cluster.backend.caveat)
    if caveat is not None:
        _log.warning("%s", caveat)
    at = primary.knowledge.at
    if at is None:  # after prepare() every primary has one
        raise NoPrimary(f"{primary.name} cannot be used: {primary.knowledge.error}")
    return at


async def _start(embedded: Sequence[EmbeddedReplica]) -> None:
    starting = asyncio.gather(
        *(asyncio.to_thread(replica.start) for replica in embedded), return_exceptions=True
    )
    try:
        outcomes = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting  # a thread cannot be cancelled, and must have started to be stopped
        raise
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def _look_at(replica: Server) -> None:
    """Say why a replica serves no session yet, or refuse it."""
    error = replica.knowledge.error
    if error is None:
        return
    if replica.unreachable:
        text = "%s cannot be reached, and serves no session until it answers: %s"
    elif replica.is_standby is not None:
        # It answered, and its place may change: it has been the primary, for example.
        text = "%s serves no session: %s"
    else:
        raise ReplicaUnavailable(f"{_named(replica)} cannot be opened: {error}")
    _log.warning(text, _named(replica), error, extra={"server": replica.name, "error": error})


def _named(server: Server) -> str:
    return f"{server.name} ({server.url.render_as_string()})"


async def close_servers(
    cluster: Cluster, embedded: Sequence[EmbeddedReplica], discovery: Discovery | None
) -> None:
    """Stop all that runs in the background, and close all idle connections.

    Args:
        cluster: the servers.
        embedded: what keeps its replicas up to date.
        discovery: what follows replicas that come and go.

    Raises:
        ReplicaUnavailable: the thread of an embedded replica does not end. Everything else is
            closed then.
    """
    cluster.closed = True
    async with AsyncExitStack() as stack:  # if one of them fails, the rest is closed too
        for server in (cluster.primary, *cluster.replicas):
            stack.push_async_callback(server.dispose)
        for replica in embedded:
            stack.push_async_callback(asyncio.to_thread, replica.stop)
        stack.push_async_callback(cluster.watcher.stop)
        if discovery is not None:
            stack.push_async_callback(discovery.stop)
