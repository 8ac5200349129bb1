"""``orm migrations squash``: one revision in the place of all."""

import json

import click

from orm.cli.migrations.common import explained, say_checkpoint
from orm.cli.root import application_here

__all__ = ["squash"]


@click.command()
@click.argument("name", default="checkpoint")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def squash(name: str, as_json: bool) -> None:
    """Write a checkpoint: one revision that makes what all revisions make.

    A new database runs the checkpoint. One that has the revisions gets it recorded, after its
    schema was compared; until all have it, the revisions stay in the folder "replaced". No database
    is changed.
    """
    with explained():
        from orm.migrations.compare import adopting

        application = application_here()
        made = adopting.squash(application, name)
    if as_json:
        click.echo(json.dumps(made.as_dict(), indent=2))
    else:
        click.echo(made.path)
        click.echo(
            f"It stands for the revisions that are in {application.replaced} now. Apply it to "
            "each database, then delete that folder."
        )
    say_checkpoint(made)
