"""``orm verify``: whether sessions keep their guarantees on the servers of a database."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from orm.cli.seconds import Seconds
from orm.cli.servers import asked, remarks, replicas_of
from orm.cli.target import database_here, target_options

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.testing.consistency.verify import Report

__all__ = ["verify"]


@click.command()
@target_options
@click.option("--replica", "replicas", multiple=True, metavar="URL", help="A replica; repeatable.")
@click.option(
    "--duration",
    type=Seconds(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it runs.",
)
@click.option("--seed", default=1, show_default=True, help="Of the clients' random decisions.")
@click.option(
    "--writers",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Other processes that write meanwhile.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(
    target: Literal["local", "remote"],
    replicas: Sequence[str],
    duration: float,
    seed: int,
    writers: int,
    as_json: bool,
) -> None:
    """Read and write through sessions, and check the guarantees against what they saw.

    The command works in two tables of its own, orm_verify_register and orm_verify_log, and
    removes them. It disturbs no server; run one at a time. The command finds the embedded replicas
    of a local database. Exits with 0 if all guarantees were kept, with 1 if one was broken, and
    with 3 if that cannot be told, because the primary does not answer, for example.
    """
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from orm.backends import backend_for
    from orm.exceptions import OrmError
    from orm.testing.consistency.verify import verify

    try:
        url = database_here(target)
        named = replicas_of(url, replicas, embedded=target == "local")
        asyncio.run(_require_primary(url, named, target))
        servers: int | Sequence[str | URL] = named
        if target == "local" and not replicas and backend_for(url).embedded is not None:
            servers = len(named)
        report = asyncio.run(verify(url, servers, seconds=duration, seed=seed, processes=writers))
    except DBAPIError as error:
        raise _CannotTell(f"a server failed: {' '.join(str(error.orig).split())}") from error
    except (OrmError, SQLAlchemyError, OSError) as error:
        raise _CannotTell(str(error)) from error
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else _text(report))
    if report.violations:
        raise click.exceptions.Exit(1)


class _CannotTell(click.ClickException):
    """The guarantees were not checked."""

    exit_code = 3


async def _require_primary(url: "URL", replicas: "Sequence[URL]", target: str) -> None:
    """Raise unless the server at `url` is the primary: the command writes there."""
    answers = await asked(url, replicas)
    primary = answers[0]
    if primary.error is not None:
        why = " ".join(primary.error.split())
        raise _CannotTell("\n".join((f"{primary.url}: {why}", *remarks(answers, url, target))))
    if primary.url != url.render_as_string():
        raise _CannotTell("\n".join(remarks(answers, url, target)))


def _text(report: "Report") -> str:
    from orm.testing.consistency.timeline import text

    lines = [
        f"{report.operations} operations in {report.seconds:.0f} s, "
        f"{report.sessions} sessions, {report.linked} linked by bookmarks",
        f"  {report.commits:>8} commits, {report.foreign} of them by "
        f"{report.processes - 1} other processes",
        *(f"  {count:>8} went {move}" for move, count in report.moves.items()),
        *(f"  {count:>8} by {server}" for server, count in report.served.items()),
        *(f"  {count:>8} failed: {error}" for error, count in report.errors.items()),
        "",
    ]
    if report.violations:
        lines.append(f"BROKEN: {len(report.violations)} violations. The shortest histories:")
        lines += [text(violation) for violation in report.violations[:3]]
    else:
        lines.append("No violation of:")
        lines += [f"  {promise}" for promise in report.checked]
    lines += ["", "Not shown by this run:", *(f"  {gap}" for gap in report.gaps)]
    return "\n".join(lines)
