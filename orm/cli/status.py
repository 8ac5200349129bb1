"""``orm status``: the state of the servers of a database."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from orm.cli.servers import asked, remarks, replicas_of
from orm.cli.target import database_here, target_options

if TYPE_CHECKING:
    from orm.servers.status import ServerStatus

__all__ = ["status"]


@click.command()
@target_options
@click.option("--replica", "replicas", multiple=True, metavar="URL", help="A replica; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(target: Literal["local", "remote"], replicas: Sequence[str], as_json: bool) -> None:
    """Show the primary and its replicas, where each one is, and how far it is behind.

    The servers themselves say which one is the primary: it comes first. The command finds the
    embedded replicas of a local database. It changes nothing. Exits with 1 if a server cannot
    serve, or takes writes and is not the primary.
    """
    from sqlalchemy.exc import ArgumentError

    from orm.exceptions import OrmError

    try:
        url = database_here(target)
        others = replicas_of(url, replicas, embedded=target == "local")
        answers = asyncio.run(asked(url, others))
    except (OrmError, ArgumentError) as error:
        raise click.ClickException(str(error)) from error
    told = [replace(server, url=_absolute(server)) for server in answers]
    if as_json:
        click.echo(json.dumps([asdict(server) for server in told], indent=2))
    else:
        click.echo("\n".join((*_table(told), *remarks(answers, url, target))))
    if any(server.error is not None or server.promoted for server in answers):
        raise click.exceptions.Exit(1)


def _absolute(server: "ServerStatus") -> str:
    """Where it is; a file from the root on, whatever the URL that named it."""
    from sqlalchemy import make_url

    url = make_url(server.url)
    if server.host is not None or not url.database or url.database.startswith("file:"):
        return server.url
    return url.set(database=str(Path(url.database).absolute())).render_as_string()


def _table(answers: "Sequence[ServerStatus]") -> Iterator[str]:
    lines = [(s.name, s.role, _state(s, answers[0]), s.place or "", s.url) for s in answers]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for server, line in zip(answers, lines, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells)
        if server.error is not None:
            yield f"    {' '.join(server.error.split())}"


def _state(server: "ServerStatus", primary: "ServerStatus") -> str:
    from orm.routing.decision import counted

    if server.error is not None:
        return "cannot serve"
    if server.promoted:
        return "takes writes, and is not the primary"
    furthest = primary.error is not None
    if server.behind is None:
        return "has no position yet"
    if not server.behind:
        return "furthest" if furthest else "up to date"
    state = f"{counted(server.behind, server.unit)} behind"
    if furthest:
        return f"{state} the furthest"
    return state if server.seconds is None else f"{state}, {server.seconds:.1f} s at most"
