"""``orm …``: the library from a terminal."""

import os

import click

from orm.cli.lazy import LazyGroup

__all__ = ["main"]


@click.group(
    cls=LazyGroup,
    commands_in={
        "demo": "orm.cli.demo:demo",
        "init": "orm.cli.init:init",
        "migrations": "orm.cli.migrations:migrations",
        "status": "orm.cli.status:status",
        "verify": "orm.cli.verify:verify",
    },
)
@click.version_option(package_name="bookmark-orm")
@click.pass_context
def main(context: click.Context) -> None:
    """Sessions that read their own writes over a primary and its replicas."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        context.color = False
