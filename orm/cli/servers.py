"""The servers that a command line names."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.servers.server import Server

__all__ = ["replicas_of", "servers"]


def replicas_of(primary: "URL", named: Sequence[str], *, embedded: bool) -> "list[URL]":
    """The named replicas; else those that the environment names; else the embedded ones.

    Args:
        primary: the URL of the primary.
        named: URLs of replicas.
        embedded: whether it is the local one: its replicas are in ``ORM_LOCAL_REPLICAS``, or beside
            it. Those of the remote one are in ``ORM_REMOTE_REPLICAS``. URLs have spaces between
            them.

    Raises:
        sqlalchemy.exc.ArgumentError: a URL is malformed.
    """
    from sqlalchemy import make_url

    from orm.backends import backend_for
    from orm.exceptions import ConfigurationError

    variable = "ORM_LOCAL_REPLICAS" if embedded else "ORM_REMOTE_REPLICAS"
    found = [make_url(url) for url in named or os.environ.get(variable, "").split()]
    if not found and embedded:
        replicas = backend_for(primary).embedded
        if replicas is not None:
            with suppress(ConfigurationError):  # this primary can have none
                found = list(replicas.present(primary))
    return found


@asynccontextmanager
async def servers(
    url: "URL", replicas: "Sequence[URL]"
) -> "AsyncIterator[tuple[Server, list[Server]]]":
    """The primary and its replicas, not probed yet; closed after the block."""
    from orm.backends import backend_for
    from orm.servers.naming import name_of
    from orm.servers.server import Server

    backend = backend_for(url)
    primary = Server(name_of(url, "primary", ()), "primary", url, backend)
    others: list[Server] = []
    for replica in replicas:
        taken = {server.name for server in (primary, *others)}
        others.append(Server(name_of(replica, "replica", taken), "replica", replica, backend))
    try:
        yield primary, others
    finally:
        for server in (primary, *others):
            await server.dispose()
