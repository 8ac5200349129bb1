"""``--local`` or ``--remote``: exactly one, always."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["embedded_replicas", "target_options"]


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


def embedded_replicas(url: "URL") -> "list[URL]":
    """The replicas that lie beside a local database."""
    from orm.backends import backend_for

    found: list[URL] = []
    while (copy := backend_for(url).file_copies(url, len(found) + 1)[-1]).replica.exists():
        found.append(copy.url)
    return found
