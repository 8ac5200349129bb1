"""``--wait``: return when every replica has what the primary has now."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

import click

from orm.cli.servers import replicas_of, servers

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["to_wait_for", "wait_for"]

_POLL: Final = 0.05  # seconds


def to_wait_for(primary: "URL", named: Sequence[str], *, embedded: bool) -> "list[URL]":
    """The replicas that a command is to wait for; arguments are those of `replicas_of`.

    Raises:
        click.ClickException: there is none.
        ConfigurationError: a URL is malformed.
    """
    urls = replicas_of(primary, named, embedded=embedded)
    if not urls:
        raise click.ClickException("there is no replica to wait for: name each with --replica URL")
    return urls


def wait_for(primary: "URL", replicas: "Sequence[URL]", seconds: float) -> None:
    """Return when every replica has replayed what is on the primary now.

    Args:
        primary: the URL of the primary.
        replicas: their URLs.
        seconds: how long to wait at most.

    Raises:
        click.ClickException: it took longer, and names the replicas that are behind; or the primary
            does not answer.
    """
    asyncio.run(_wait(primary, replicas, seconds))


async def _wait(url: "URL", replicas: "Sequence[URL]", seconds: float) -> None:
    deadline = monotonic() + seconds
    async with servers(url, replicas) as (primary, others):
        await primary.probe()
        head = primary.knowledge.at
        if head is None:
            raise click.ClickException(f"the primary does not answer: {primary.knowledge.error}")
        while True:
            await asyncio.gather(*(server.probe() for server in others))
            behind = [server for server in others if not server.covers(head)]
            if not behind:
                return
            if monotonic() >= deadline:
                states = ", ".join(
                    f"{server.name} {server.knowledge.error or 'has not replayed it'}"
                    for server in behind
                )
                raise click.ClickException(
                    f"everything is applied; after {seconds:g} s of waiting: {states}"
                )
            await asyncio.sleep(_POLL)
