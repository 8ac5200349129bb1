"""What is said of pending revisions, and asked for, before any of them is applied."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orm.cli.migrations.common import Target, ask, shown

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
    """Say on standard error what would happen; of a remote database, go on only after a yes.

    Args:
        target: which one it is.
        url: its URL.
        pending: what is to be applied.
        reviewed: what that would do.
        yes: the answer was given beforehand.
        allow_data_loss: and it holds if data would be lost.

    Raises:
        click.exceptions.Exit: the answer was no; exit code 1.
        click.Abort: there was no answer, because the terminal or the input is closed.
        click.ClickException: data would be lost, and that was not allowed beforehand.
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
            "data would be lost, and --yes does not say that it may be: add --allow-data-loss. "
            "Nothing was changed"
        )
    elif not yes:
        _have_it_typed(str(url.database))


def _have_it_typed(name: str) -> None:
    """Go on only after the name of the database was typed.

    Raises:
        click.exceptions.Exit: something else was; exit code 1.
        click.Abort: nothing was, because the terminal or the input is closed.
    """
    try:
        typed = click.prompt(
            f"Data would be lost. Type the name of the database ({name}) to go on",
            default="",
            show_default=False,
            err=True,
        )
    except RuntimeError as error:  # input() without a standard input at all
        raise click.Abort from error
    if typed != name:
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)
