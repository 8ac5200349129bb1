"""``orm migrations renumber``: one line again, after branches were merged."""

import json

import click

from orm.cli.migrations.common import Target, explained
from orm.cli.root import application_here
from orm.cli.target import target_options

__all__ = ["renumber"]


@click.command()
@target_options
@click.option("--dry-run", is_flag=True, help="Print what would be changed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def renumber(target: Target, dry_run: bool, as_json: bool) -> None:
    """Put the revisions into one line again, as after the merge of two branches.

    The revisions that are applied to the target keep their numbers. The others get the numbers
    after them, in the names of their files too. With --local it is refused if the database that
    ORM_REMOTE_URL names has one of those. Do not renumber a revision that is applied to another
    database.
    """
    with explained():
        from orm.migrations.files.numbers import carry_out
        from orm.migrations.ledger.state import renumbering

        application = application_here()
        changes = renumbering(application, target)
        if not dry_run:
            carry_out(application.versions, changes)
    if as_json:
        rows = [
            {"old": change.file.name, "new": change.path.stem, "follows": change.down}
            for change in changes
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for change in changes:
        click.echo(f"{change.file.name} -> {change.path.stem}, follows {change.down}")
    if not changes:
        click.echo("The revisions are in one line: there is nothing to renumber.")
