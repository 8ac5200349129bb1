"""The options ``--local`` and ``--remote``, exactly one of which is given."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = ["target_options"]


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command both options; it gets ``target``, ``"local"`` or ``"remote"``.

    Raises:
        click.UsageError: neither or both were given; says which database each one names.
    """

    @click.option("--local", is_flag=True, help="The embedded database of this checkout.")
    @click.option("--remote", is_flag=True, help="The database that ORM_REMOTE_URL names.")
    @wraps(command)
    def with_target(*args: Any, local: bool, remote: bool, **kw: Any) -> Any:
        if local == remote:
            raise click.UsageError(
                "give exactly one of --local and --remote.\n"
                f"  --local:  {_what('local')} (from {Path.cwd()})\n"
                f"  --remote: {_what('remote')}"
            )
        return command(*args, target="local" if local else "remote", **kw)

    return with_target


def _what(target: str) -> str:
    """The URL of a target without its password; or why it has no URL."""
    from orm.exceptions import OrmError
    from orm.migrations.target import target_url

    try:
        return target_url(target).render_as_string(hide_password=True)
    except OrmError as error:
        return str(error)
