"""What ``apply`` prints and asks before it applies anything."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orm.cli.migrations.common import Target, answered, ask, shown

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.migrations.compare.review import Reviewed
    from orm.migrations.revision import Revision

__all__ = ["consent"]


def consent(
    target: Target,
    url: "URL",
    pending: "Sequence[Revision]",
    reviewed: "Sequence[Reviewed]",
    *,
    yes: bool,
    allow_data_loss: bool,
) -> None:
    """Print on standard error what would happen; for a remote database, return only after a yes.

    Args:
        target: ``"local"`` or ``"remote"``.
        url: its URL.
        pending: the revisions to apply.
        reviewed: what they would do.
        yes: whether ``--yes`` answers the question.
        allow_data_loss: whether it does so if data would be lost, too.

    Raises:
        click.exceptions.Exit: the answer was no; exit code 1.
        click.Abort: the user has interrupted it.
        click.ClickException: there was no answer, because there is no terminal; or data would be
            lost, and ``--yes`` came without ``--allow-data-loss``.
    """
    if target == "remote" and not yes:
        click.echo(f"{shown(url)}:", err=True)
        for file in pending:
            click.echo(f"  {file.name}", err=True)
    for one in reviewed:
        click.secho(f"! {one.message}", fg="red" if one.loses_data else "yellow", err=True)
    if target != "remote":
        return
    if not any(one.loses_data for one in reviewed):
        if not yes:
            ask("Apply?")
    elif yes and not allow_data_loss:
        raise click.ClickException(
            "data would be lost, and --yes alone does not allow that: add --allow-data-loss. "
            "Nothing was changed"
        )
    elif not yes:
        _have_it_typed(str(url.database))


def _have_it_typed(database: str) -> None:
    """Ask for the name of the database, and return only if it was typed.

    Args:
        database: its name; of a file, its path, whose last part will do.

    Raises:
        click.exceptions.Exit: something else was typed; exit code 1.
        click.ClickException: nothing was typed, because there is no terminal.
        click.Abort: the user has interrupted it.
    """
    name = database.rpartition("/")[2]
    with answered("--yes --allow-data-loss"):
        typed = click.prompt(
            f"Data would be lost. Type the name of the database ({name}) to go on",
            default="",
            show_default=False,
            err=True,
        )
    if typed not in (name, database):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)
