"""The servers that a command line names."""

import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.servers.server import Server
    from orm.servers.status import ServerStatus

__all__ = ["asked", "remarks", "replicas_of", "servers"]

_UNSAID: Final = logging.NullHandler()
"""What is logged of a change of roles is in the answers, too."""


def replicas_of(primary: "URL", named: Sequence[str], *, embedded: bool) -> "list[URL]":
    """The named replicas; else those that the environment names; else the embedded ones.

    Args:
        primary: the URL of the primary.
        named: URLs of replicas.
        embedded: whether it is the local one: its replicas are in ``ORM_LOCAL_REPLICAS``, or beside
            it. Those of the remote one are in ``ORM_REMOTE_REPLICAS``. URLs have spaces between
            them.

    Raises:
        ConfigurationError: a URL is malformed.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from orm.backends import backend_for
    from orm.backends.address import checked
    from orm.exceptions import ConfigurationError

    variable = "ORM_LOCAL_REPLICAS" if embedded else "ORM_REMOTE_REPLICAS"
    try:
        found = [checked(make_url(url)) for url in named or os.environ.get(variable, "").split()]
    except (ArgumentError, ValueError):
        # The cause may quote the value, and with it a password.
        raise ConfigurationError(
            f"{'--replica' if named else variable} is not a database URL, such as "
            "postgresql+asyncpg://user@host/name; several have spaces between them, or an option "
            "each"
        ) from None
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


async def asked(url: "URL", replicas: "Sequence[URL]") -> "list[ServerStatus]":
    """What all servers say now; the one that is the primary comes first. Changes nothing."""
    from orm.backends import backend_for
    from orm.servers.cluster import Cluster
    from orm.servers.status import ask

    logging.getLogger("orm").addHandler(_UNSAID)
    async with servers(url, replicas) as (primary, others):
        cluster = Cluster(backend_for(url), primary, others)
        await primary.probe()  # it counts as the primary, if two of one timeline say that they are
        return await ask(cluster)


def remarks(answers: "Sequence[ServerStatus]", named: "URL", target: str) -> Iterator[str]:
    """What the answers mean together, and what to do.

    Args:
        answers: as `asked` gives them.
        named: the server that is named as the primary.
        target: which database it is: ``"local"`` or ``"remote"``.
    """
    primary, *others = answers
    promoted = [server.name for server in others if server.promoted]
    answering = any(server.error is None for server in others)
    if primary.url != named.render_as_string():
        yield (
            f"{primary.name} is the primary now: name it first, in ORM_{target.upper()}_URL, and "
            "the others as replicas."
        )
    if primary.error is not None and promoted:
        yield f"{promoted[0]} was promoted: the next Database that asks it makes it the primary."
    elif primary.error is not None and primary.host is not None and answering:
        yield (
            "No server that answers is the primary: start it again, or promote the replica that is "
            "furthest."
        )
    elif promoted:
        yield f"{primary.name} is the primary: make {' and '.join(promoted)} follow it again."
    for server in others:
        if server.role == "primary":
            yield (
                f"{server.name} still takes writes, which will be lost: stop it, or make it follow "
                f"{primary.name}."
            )
