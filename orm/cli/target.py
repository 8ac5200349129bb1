"""``--local`` or ``--remote``: exactly one, always."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

__all__ = ["target_options"]


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command both options; it gets ``target``, ``"local"`` or ``"remote"``.

    Raises:
        click.UsageError: neither or both were given.
    """

    @click.option("--local", is_flag=True, help="The embedded database of this checkout.")
    @click.option("--remote", is_flag=True, help="The database that ORM_REMOTE_URL names.")
    @wraps(command)
    def with_target(*args: Any, local: bool, remote: bool, **kw: Any) -> Any:
        if local == remote:
            raise click.UsageError(
                "give exactly one of --local (the embedded database of this checkout) "
                "and --remote (the database that ORM_REMOTE_URL names)"
            )
        return command(*args, target="local" if local else "remote", **kw)

    return with_target
