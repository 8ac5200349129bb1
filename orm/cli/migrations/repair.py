"""``orm migrations repair``: accept applied files as they are now."""

import json
from collections.abc import Sequence

import click

from orm.cli.migrations.common import Target, ask, explained, shown
from orm.cli.migrations.completion import revisions as typed_revisions
from orm.cli.root import application_here
from orm.cli.target import target_options

__all__ = ["repair"]


@click.command()
@click.argument("revisions", nargs=-1, metavar="[REVISION]...", shell_complete=typed_revisions)
@target_options
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask about a remote database.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def repair(revisions: Sequence[str], target: Target, reason: str, yes: bool, as_json: bool) -> None:
    """Accept the text and the name that the files of applied revisions have now.

    It also makes Alembic's own table what the ledger says. No schema is changed.
    """
    with explained():
        from orm.migrations.ledger import repairing
        from orm.migrations.target import target_url

        application = application_here()
        url = target_url(target, application.pyproject)
        if target == "remote" and not yes:
            ask(f"Repair the ledger of {shown(url)}?")
        repaired = repairing.repair(application, url, revisions, reason)
    if as_json:
        click.echo(json.dumps({"repaired": repaired}))
    else:
        click.echo(f"Repaired: {', '.join(repaired)}")
