"""``orm migrations apply``: run what is pending."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orm.cli.migrations.common import Target, explained, shown
from orm.cli.migrations.completion import revisions as typed_revisions
from orm.cli.migrations.consent import consent
from orm.cli.migrations.progress import progress
from orm.cli.root import application_here
from orm.cli.seconds import Seconds
from orm.cli.target import target_options

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.migrations.application import Application
    from orm.migrations.compare.review import Reviewed
    from orm.migrations.ledger.state import State
    from orm.migrations.revision import Revision

__all__ = ["apply"]


@click.command()
@target_options
@click.option(
    "--to",
    default="head",
    metavar="REVISION",
    shell_complete=typed_revisions,
    help="The last one to apply.",
)
@click.option("--dry-run", is_flag=True, help="Print the SQL; apply nothing.")
@click.option("--yes", is_flag=True, help="Do not ask about a remote database.")
@click.option("--allow-data-loss", is_flag=True, help="With --yes: also if data would be lost.")
@click.option(
    "--patience",
    type=Seconds(min=0),
    default=600.0,  # orm.migrations.connecting.PATIENCE; its import would be slow
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for another run.",
)
@click.option(
    "--wait",
    type=Seconds(min=0),
    is_flag=False,
    flag_value=60.0,
    metavar="[SECONDS]",
    help="Return when every replica has replayed it; fail after that time (60 s).",
)
@click.option("--replica", "replicas", multiple=True, metavar="URL", help="A replica; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def apply(
    target: Target,
    to: str,
    dry_run: bool,
    yes: bool,
    allow_data_loss: bool,
    patience: float,
    wait: float | None,
    replicas: Sequence[str],
    as_json: bool,
) -> None:
    """Apply the pending revisions, each one whole or not at all.

    If a revision fails, the earlier ones stay; the next apply goes on from there.
    """
    with explained():
        from orm.migrations.files.line import refuse
        from orm.migrations.ledger.state import look
        from orm.migrations.target import target_url

        application = application_here()
        url = target_url(target, application.pyproject)
        state = look(application, target)
        if as_json and state.findings:
            found = [asdict(finding) for finding in state.findings]
            click.echo(json.dumps({"database": shown(url), "applied": [], "findings": found}))
            raise click.exceptions.Exit(1)
        refuse(state.findings)
        others: Sequence[URL] = ()
        if wait is not None:
            from orm.cli.migrations.wait import to_wait_for

            others = to_wait_for(url, replicas, embedded=target == "local")
        pending = state.pending(to)
        at, to_run = state.basis(to)
        if dry_run:
            from orm.migrations.compare.sql import script_of

            sql = script_of(application, url, at, to_run)
            reviewed = _reviewed(application, url, at, to_run)
            _say_plan(url, pending, reviewed, sql, as_json=as_json, goes_on=_goes_on(state, to))
            return
        for sentence in () if as_json else _goes_on(state, to):
            click.echo(sentence)
        done: list[Revision] = []
        points: list[str] = []
        if pending:
            from orm.migrations.running.applying import apply_now  # imports Alembic

            # A review counts rows: only for the question before a remote apply.
            reviewed = _reviewed(application, url, at, to_run) if target == "remote" else []
            consent(target, url, pending, reviewed, yes=yes, allow_data_loss=allow_data_loss)
            try:
                with progress(pending, quiet=as_json) as advance:
                    done = apply_now(
                        application,
                        url,
                        to=to,
                        patience=patience,
                        applied=advance,
                        restore_point=points.append,
                    )
            finally:  # above all if a revision failed
                for point in points:
                    click.echo(point, err=as_json)
        if wait is not None:
            from orm.cli.migrations.wait import wait_for

            wait_for(url, others, wait)
    if as_json:
        click.echo(json.dumps({"database": shown(url), "applied": [file.name for file in done]}))
    elif pending and not done:
        click.echo("Nothing left to apply: another run has just applied the pending revisions.")
    elif not done:
        click.echo(f"Nothing to apply: {shown(url)} is at {state.at or 'no revision'}.")


def _goes_on(state: "State", to: str) -> "list[str]":
    """Where the first revision goes on, if an earlier run has begun it."""
    return [
        f"{file.name} goes on at its statement {state.half_done[file.id] + 1}"
        for file in state.pending(to)[:1]
        if state.half_done.get(file.id)
    ]


def _reviewed(
    application: "Application", url: "URL", at: str | None, pending: "Sequence[Revision]"
) -> "list[Reviewed]":
    from orm.migrations.compare.review import review

    return review(application, url, at, pending)


def _say_plan(
    url: "URL",
    pending: "Sequence[Revision]",
    reviewed: "Sequence[Reviewed]",
    sql: str,
    *,
    as_json: bool,
    goes_on: "Sequence[str]",
) -> None:
    if as_json:
        plan = {
            "database": shown(url),
            "pending": [file.name for file in pending],
            "recorded": [file.name for file in pending if file.only_recorded],
            "review": [one.as_dict() for one in reviewed],
            "sql": sql,
        }
        click.echo(json.dumps(plan, indent=2))
        return
    click.echo(f"-- {shown(url)}: {len(pending)} to apply")
    for file in pending:
        if file.only_recorded:
            click.echo(f"-- {file.name} is recorded, and not run, if the schema is the same")
    for sentence in goes_on:
        click.echo(f"-- {sentence}; below is the whole revision")
    for one in reviewed:
        click.echo(f"-- {one.message}")
    click.echo(sql, nl=False)
