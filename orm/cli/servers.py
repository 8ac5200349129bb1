"""The servers that a command line names."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.servers.server import Server

__all__ = ["replicas_of", "servers"]


def replicas_of(primary: "URL", named: Sequence[str], *, embedded: bool) -> "list[URL]":
    """The named replicas; if there are none, the embedded ones beside the primary.

    Args:
        primary: the URL of the primary.
        named: URLs of replicas.
        embedded: whether to look for embedded replicas.

    Raises:
        sqlalchemy.exc.ArgumentError: a URL is malformed.
    """
    from sqlalchemy import make_url

    from orm.backends import backend_for
    from orm.exceptions import ConfigurationError

    found = [make_url(url) for url in named]
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
    from orm.servers.server import Server

    backend = backend_for(url)
    primary = Server("primary", "primary", url, backend)
    others = [
        Server(f"replica-{number}", "replica", replica, backend)
        for number, replica in enumerate(replicas, start=1)
    ]
    try:
        yield primary, others
    finally:
        for server in (primary, *others):
            await server.dispose()
