"""``orm migrations create``: the next revision, made from the models."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from orm.cli.migrations.common import explained

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation
    from sqlalchemy import Dialect

    from orm.migrations.compare.renames import Rename

__all__ = ["create"]


@click.command()
@click.argument("name")
@click.option("--empty", is_flag=True, help="Leave it to be written by hand.")
@click.option(
    "--rename",
    "asked",
    multiple=True,
    metavar="TABLE.OLD:NEW",
    help="This is a rename, and nothing is dropped; OLD:NEW of a table. Repeatable.",
)
@click.option("--no-rename", is_flag=True, help="Nothing else is a rename: drop, and add.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def create(name: str, empty: bool, asked: Sequence[str], no_rename: bool, as_json: bool) -> None:
    """Write the next revision: what the models have that the revisions do not make.

    No database is needed, and none is touched. What was probably renamed is asked for, or is
    said by --rename or --no-rename.
    """
    if empty and (asked or no_rename):
        raise click.UsageError("--empty writes nothing that could be renamed")

    with explained():
        from orm.migrations.application import Application
        from orm.migrations.compare import writing as creation

        choose = None if empty else partial(_choose, asked=asked, no_rename=no_rename)
        made = creation.create(Application.at(), name, choose=choose)
    if as_json:
        click.echo(json.dumps(None if made is None else made.as_dict(), indent=2))
    elif made is None:
        click.echo("The revisions make what the models say: there is nothing to write.")
    else:
        click.echo(made.path)
        for effect in made.effects:
            click.secho(f"  {effect.message}", fg="yellow")


def _choose(
    operations: "Sequence[MigrateOperation]",
    dialect: "Dialect",
    *,
    asked: Sequence[str],
    no_rename: bool,
) -> "list[Rename]":
    """What of it are renames: those that were asked for, then those that somebody says yes to."""
    from orm.migrations.compare.renames import probable, requested

    chosen = requested(asked, operations, dialect)
    if no_rename:
        return chosen
    taken = {name for rename in chosen for name in rename.names}
    for rename in probable(operations, dialect):
        if rename.names & taken:
            continue
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"{rename.what} is gone and {rename.new}, which looks the same, is new: say "
                f"--rename {rename} if it was renamed, so that what is in it stays, or "
                "--no-rename if the old one is to be dropped with all that is in it"
            )
        if click.confirm(f"Was {rename.what} renamed to {rename.new}?", err=True):
            chosen.append(rename)
            taken |= rename.names
    return chosen
