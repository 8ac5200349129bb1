"""What the commands share: how they print errors, and how they ask."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import click

if TYPE_CHECKING:
    from sqlalchemy import URL

    from orm.migrations.compare.checkpoint import Checkpoint

__all__ = ["Target", "answered", "ask", "explained", "say_checkpoint", "shown"]

Target = Literal["local", "remote"]

_NAMED: Final = 3
"""Differences that are named; check names all."""


@contextmanager
def explained() -> Iterator[None]:
    """Errors as a sentence on standard error, and the exit code 1."""
    from orm.exceptions import OrmError

    try:
        yield
    except (OrmError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except Exception as error:
        # SQLAlchemy's DBAPIError, whose import would be slow. Its text adds the statement and a
        # link to the manual; its cause does not.
        cause = getattr(error, "orig", None)
        if cause is None:
            raise
        raise click.ClickException(str(cause)) from error


@contextmanager
def answered(instead: str) -> Iterator[None]:
    """A question, which needs a terminal or piped input.

    Args:
        instead: the options that answer it, too.

    Raises:
        click.ClickException: there was no answer, because there is no terminal; says what to do.
        click.Abort: the user has interrupted it.
    """
    try:
        yield
    except (click.Abort, RuntimeError, OSError) as error:  # the latter: no standard input
        if isinstance(error, click.Abort) and sys.stdin is not None and sys.stdin.isatty():
            raise click.Abort from error
        raise click.ClickException(
            f"nothing was changed: there is no terminal to answer at. Add {instead} to do it"
        ) from error


def ask(question: str) -> None:
    """Ask, and return only after a yes.

    Raises:
        click.exceptions.Exit: the answer was no; exit code 1.
        click.ClickException: there was no answer, because there is no terminal.
        click.Abort: the user has interrupted it.
    """
    with answered("--yes"):
        yes = click.confirm(question, err=True)
    if not yes:
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)


def shown(url: "URL") -> str:
    """A URL for people: without its password."""
    return url.render_as_string(hide_password=True)


def say_checkpoint(made: "Checkpoint") -> None:
    """Name on standard error what a checkpoint lacks, and what the models have beyond it.

    Raises:
        click.exceptions.Exit: it lacks something; exit code 1.
    """
    if made.models:
        for one in made.models[:_NAMED]:
            click.echo(one.fact, err=True)
        click.echo(
            f"The models differ from it in {len(made.models)} thing(s). The next revision makes "
            'them the same: orm migrations create "follow the models"',
            err=True,
        )
    if made.left:
        for one in made.left:
            click.echo(one.fact, err=True)
        click.echo(
            f"Error: {made.path.name} does not write all of it: write by hand what it names, and "
            "delete its first statement, which fails",
            err=True,
        )
        raise click.exceptions.Exit(1)
