"""``orm status``: how the servers of a database are."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import click

from orm.cli.target import embedded_replicas, target_options

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.status import ServerStatus

__all__ = ["status"]


@click.command()
@target_options
@click.option("--replica", "replicas", multiple=True, metavar="URL", help="A replica; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(target: Literal["local", "remote"], replicas: Sequence[str], as_json: bool) -> None:
    """Show the primary and its replicas, and how far each one is behind.

    The embedded replicas beside a local database are found by themselves. Exits with 1 if a
    server cannot serve.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from orm.exceptions import OrmError
    from orm.migrations.target import target_url

    try:
        url = target_url(target)
        others = [make_url(replica) for replica in replicas] or (
            embedded_replicas(url) if target == "local" else []
        )
        servers = asyncio.run(_status(url, others))
    except (OrmError, ArgumentError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(server) for server in servers], indent=2))
    else:
        for server in servers:
            click.echo(_line(server))
    if any(server.error is not None for server in servers):
        raise click.exceptions.Exit(1)


async def _status(url: "URL", replicas: "Sequence[URL]") -> "list[ServerStatus]":
    from orm.backends import backend_for
    from orm.status import ask
    from orm.watcher import Server

    backend = backend_for(url)
    primary = Server("primary", "primary", url, backend)
    others = [
        Server(f"replica-{number}", "replica", replica, backend)
        for number, replica in enumerate(replicas, start=1)
    ]
    try:
        return await ask(primary, others)
    finally:
        for server in (primary, *others):
            await server.dispose()


def _line(server: "ServerStatus") -> str:
    if server.error is not None:
        state = f"serves nobody: {server.error}"
    elif server.behind is None:
        state = "has no position yet"
    else:
        state = f"{server.behind} behind" if server.behind else "up to date"
    return f"{server.name:<12}{state:<24}{server.url}"
