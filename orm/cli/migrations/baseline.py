"""``orm migrations baseline``: adopt a database that has its schema already."""

import json

import click

from orm.cli.migrations.common import Target, ask, explained, shown
from orm.cli.migrations.completion import revisions as typed_revisions
from orm.cli.root import application_here
from orm.cli.target import target_options

__all__ = ["baseline"]


@click.command()
@click.argument("revision", shell_complete=typed_revisions)
@target_options
@click.option("--reason", default="the schema was the same", help="Why; the ledger keeps it.")
@click.option("--anyway", metavar="WHY", help="Record them though the schema differs, and why.")
@click.option("--yes", is_flag=True, help="Do not ask about a remote database.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def baseline(
    revision: str, target: Target, reason: str, anyway: str | None, yes: bool, as_json: bool
) -> None:
    """Record the revisions up to REVISION as applied, without running them.

    For a database that has their schema already, which is compared first.
    """
    with explained():
        from orm.migrations.running import baseline as adopting
        from orm.migrations.target import target_url

        application = application_here()
        url = target_url(target, application.pyproject)
        if target == "remote" and not yes:
            ask(f"Record {revision} and all before it as applied on {shown(url)}?")
        recorded = adopting.baseline(
            application, url, revision, anyway or reason, anyway=anyway is not None
        )
    if as_json:
        click.echo(json.dumps({"recorded": recorded}))
    else:
        click.echo(f"Recorded as applied, and not run: {', '.join(recorded) or 'nothing new'}")
