"""``orm migrations …``."""

import click

from orm.cli.lazy import LazyGroup

__all__ = ["migrations"]


@click.group(
    cls=LazyGroup,
    commands_in={
        "create": "orm.cli.migrations.create:create",
    },
)
def migrations() -> None:
    """Changes of the schema, one revision after the other."""
