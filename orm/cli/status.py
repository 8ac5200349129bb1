"""``orm status``: the state of the servers of a database."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import click

from orm.cli.servers import replicas_of, servers
from orm.cli.target import database_here, target_options

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.servers.status import ServerStatus

__all__ = ["status"]


@click.command()
@target_options
@click.option("--replica", "replicas", multiple=True, metavar="URL", help="A replica; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(target: Literal["local", "remote"], replicas: Sequence[str], as_json: bool) -> None:
    """Show the primary and its replicas, and how far each one is behind.

    The command finds the embedded replicas of a local database. Exits with 1 if a
    server cannot serve.
    """
    from sqlalchemy.exc import ArgumentError

    from orm.exceptions import OrmError

    try:
        url = database_here(target)
        others = replicas_of(url, replicas, embedded=target == "local")
        answers = asyncio.run(_status(url, others))
    except (OrmError, ArgumentError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(server) for server in answers], indent=2))
    else:
        for server in answers:
            click.echo(_line(server))
    if any(server.error is not None for server in answers):
        raise click.exceptions.Exit(1)


async def _status(url: "URL", replicas: "Sequence[URL]") -> "list[ServerStatus]":
    from orm.servers.status import ask

    async with servers(url, replicas) as (primary, others):
        return await ask(primary, others)


def _line(server: "ServerStatus") -> str:
    if server.error is not None:
        state = f"cannot serve: {' '.join(server.error.split())}"
    elif server.behind is None:
        state = "has no position yet"
    else:
        from orm.routing.decision import counted

        state = f"{counted(server.behind, server.unit)} behind" if server.behind else "up to date"
        if server.behind and server.seconds is not None:
            state += f", {server.seconds:.1f} s"
    return f"{server.name:<12}{server.role:<10}{state:<31} {server.url}{_history(server)}"


def _history(server: "ServerStatus") -> str:
    """History and last timeline, for an engine that has timelines; else empty."""
    if server.at is None:
        return ""
    timeline, _ = max(server.at.position, key=lambda part: (part[1], len(part[0]), part[0]))
    return f" (history {server.at.history}, timeline {timeline})" if timeline else ""
