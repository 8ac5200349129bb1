"""``orm migrations create``: write the next revision, from the models."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from orm.cli.migrations.common import explained
from orm.cli.root import application_here

if TYPE_CHECKING:
    from alembic.operations import MigrateOperation
    from sqlalchemy import Connection

    from orm.migrations.compare.renames import Rename
    from orm.migrations.compare.writing import Created

__all__ = ["create"]

_NAMED: Final = 3
"""Pairs that may be a rename and a change in one, and are named."""


def _needed(context: click.Context, argument: click.Parameter, name: str | None) -> str | None:
    """The NAME, which only --amend (it is parsed first) does without."""
    if name is None and not context.params["amend"] and not context.resilient_parsing:
        raise click.MissingParameter(ctx=context, param=argument, param_hint="NAME")
    return name


@click.command()
@click.argument("name", required=False, callback=_needed)
@click.option("--empty", is_flag=True, help="Write an empty one, to be filled by hand.")
@click.option(
    "--rename",
    "asked",
    multiple=True,
    metavar="TABLE.OLD:NEW",
    help="A rename, in which nothing is dropped; OLD:NEW for a table. Repeatable.",
)
@click.option(
    "--no-rename", is_flag=True, help="There is no other rename: drop the old, add the new."
)
@click.option(
    "--amend",
    is_flag=True,
    is_eager=True,
    help="Write the newest revision anew; it keeps its number.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def create(
    name: str | None,
    empty: bool,
    asked: Sequence[str],
    no_rename: bool,
    amend: bool,
    as_json: bool,
) -> None:
    """Write the next revision: what the models have and the revisions do not make.

    No database is needed, and none is changed. The command asks about probable renames, unless
    --rename or --no-rename answers. What it cannot write is named, by the new file too, which fails
    until that is written by hand; the command then ends with 1.

    With --amend the newest revision is written anew, and keeps its name unless there is another
    NAME. It is refused if the database that ORM_REMOTE_URL names has that revision. The old text
    stays in a file beside it.
    """
    if amend and empty:
        raise click.UsageError(
            "--amend writes a revision from the models, and --empty one for you to write: to write "
            "the newest one by hand, edit its file"
        )
    if empty and (asked or no_rename):
        raise click.UsageError("--empty writes nothing that could be renamed")

    with explained():
        from orm.migrations.compare import writing as creation

        choose = _Renames(asked, no_rename=no_rename)
        application = application_here()
        made: Created | None
        if amend:
            made = creation.amend(application, name, choose=choose)
        else:
            assert name is not None
            made = creation.create(application, name, choose=None if empty else choose)
    if as_json:
        click.echo(json.dumps(None if made is None else made.as_dict(), indent=2))
    elif made is None:
        click.echo("The revisions make what the models say: there is nothing to write.")
    else:
        click.echo(made.path)
        for effect in made.effects:
            click.secho(f"  {effect.message}", fg="yellow")
        for note in made.notes:
            click.echo(note, err=True)
    if made is not None and made.left:
        for difference in made.left:
            click.echo(difference.fact, err=True)
        click.echo(
            f"Error: {made.path.name} does not write all of it: write by hand what it names, and "
            "delete its first statement, which fails",
            err=True,
        )
        raise SystemExit(1)


class _Renames:
    """The renames: those of --rename, then the probable ones to which the user says yes."""

    def __init__(self, asked: Sequence[str], *, no_rename: bool) -> None:
        from orm.migrations.compare.renames import Requested

        self._requested = Requested(asked)
        self._no_rename = no_rename
        self._denied: set[str] = set()

    def __call__(
        self, operations: "Sequence[MigrateOperation]", connection: "Connection"
    ) -> "Sequence[Rename]":
        from orm.migrations.compare.renames import conceivable, probable

        chosen = self._requested.next(operations, connection)
        if chosen or self._no_rename:
            return chosen
        for rename in probable(operations, connection.dialect):
            if str(rename) in self._denied:
                continue
            if not sys.stdin.isatty():
                raise click.UsageError(
                    f"{rename.what} is gone and {rename.new}, which looks the same, is new: add "
                    f"--rename {rename} if it was renamed, to keep its values, or --no-rename to "
                    "drop the old one with all its values"
                )
            if click.confirm(f"Was {rename.what} renamed to {rename.new}?", err=True):
                return [rename]
            self._denied.add(str(rename))
        for rename in conceivable(operations, connection.dialect)[:_NAMED]:
            click.echo(
                f"{rename.what} is gone and {rename.new} is new: if it was renamed, keep its "
                f"values by orm migrations create --amend --rename {rename}",
                err=True,
            )
        return []
