"""``orm migrations reset``: the local database anew."""

import json

import click

from orm.cli.migrations.common import ask, explained, shown
from orm.cli.root import application_here

__all__ = ["reset"]


@click.command()
@click.option("--local", is_flag=True, help="The database of this checkout; no other is reset.")
@click.option("--zero", is_flag=True, help="From nothing, even if a restore point would do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def reset(local: bool, zero: bool, yes: bool, as_json: bool) -> None:
    """Begin the local database anew, and apply the revisions.

    The data of a server's database is lost. A SQLite database is kept beside the new one, as
    app.before-reset.db; of such files and restore points the latest three stay.

    As after a switch of branches, when it has revisions that are not in this checkout. The command
    takes the latest restore point that has none of them; without one it begins from nothing.
    """
    if not local:
        raise click.UsageError("give --local: no other database is reset")
    with explained():
        from orm.migrations.running import resetting
        from orm.migrations.target import target_url

        application = application_here()
        url = target_url("local", application.pyproject)
        if not yes:
            ask(f"Delete all data of {shown(url)}?")
        point, done = resetting.reset(application, zero=zero)
    if as_json:
        applied = [file.name for file in done]
        click.echo(json.dumps({"restore_point": point, "applied": applied}, indent=2))
        return
    click.echo(f"begun anew from {point or 'nothing'}")
    for file in done:
        click.echo(f"applied {file.name}")
