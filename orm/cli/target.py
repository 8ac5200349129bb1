"""The options ``--local`` and ``--remote``, exactly one of which is given."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orm.cli.root import enter_root

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["database_here", "target_options"]


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command both options; it gets ``target``, ``"local"`` or ``"remote"``.

    Raises:
        click.UsageError: neither or both were given; says which database each one names.
    """

    @click.option("--local", is_flag=True, help="The local database of this checkout.")
    @click.option("--remote", is_flag=True, help="The database that ORM_REMOTE_URL names.")
    @wraps(command)
    def with_target(*args: Any, local: bool, remote: bool, **kw: Any) -> Any:
        if local == remote:
            enter_root()
            raise click.UsageError(
                "give exactly one of --local and --remote.\n"
                f"  --local:  {_what('local')} (from {Path.cwd()})\n"
                f"  --remote: {_what('remote')}"
            )
        return command(*args, target="local" if local else "remote", **kw)

    return with_target


def database_here(target: str) -> "URL":
    """The database of a target, for a command that needs no revisions.

    Raises:
        ConfigurationError: the target names no database; or it is the local one, and neither an
            application nor its database is in the working directory, or an application above it.
    """
    from orm.exceptions import ConfigurationError
    from orm.migrations.target import target_url

    enter_root()
    url, here = target_url(target), Path.cwd()
    if target == "local" and not any(map(Path.exists, (here / "pyproject.toml", here / "app.db"))):
        raise ConfigurationError(
            f"there is no pyproject.toml in {here} or above it, which would name the local "
            "database: go to the application's folder"
        )
    return url


def _what(target: str) -> str:
    """The URL of a target without its password; or why it has no URL."""
    from orm.exceptions import OrmError

    try:
        return database_here(target).render_as_string(hide_password=True)
    except OrmError as error:
        return str(error)
