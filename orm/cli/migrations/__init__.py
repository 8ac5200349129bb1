"""``orm migrations …``: forward-only migrations from a terminal."""

import click

from orm.cli.lazy import LazyGroup

__all__ = ["migrations"]


@click.group(
    cls=LazyGroup,
    commands_in={
        "create": "orm.cli.migrations.create:create",
        "list": "orm.cli.migrations.list:list_",
        "apply": "orm.cli.migrations.apply:apply",
        "check": "orm.cli.migrations.check:check",
        "export": "orm.cli.migrations.export:export",
        "show": "orm.cli.migrations.show:show",
        "renumber": "orm.cli.migrations.renumber:renumber",
        "baseline": "orm.cli.migrations.baseline:baseline",
        "repair": "orm.cli.migrations.repair:repair",
    },
)
def migrations() -> None:
    """Revisions of the schema: numbered, in one line, forward only."""
