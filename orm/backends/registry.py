"""Backends are found by the name in the URL, through the entry point group ``orm.backends``."""

from functools import cache
from importlib.metadata import entry_points

from sqlalchemy import URL, make_url

from orm.backends.base import Backend
from orm.backends.migrations import Migrations
from orm.exceptions import ConfigurationError

__all__ = ["backend_for", "migrations_for"]


def backend_for(url: str | URL) -> Backend:
    """The backend for a database URL.

    Raises:
        ConfigurationError: no installed distribution provides one for this kind of URL, or several
            do.
    """
    return _load(make_url(url).get_backend_name())


def migrations_for(url: str | URL) -> Migrations:
    """How the database of a URL is migrated.

    Raises:
        ConfigurationError: its backend has no migrations, or there is no backend.
    """
    migrations = backend_for(url).migrations
    if migrations is None:
        raise ConfigurationError(
            f"{make_url(url).get_backend_name()} databases are not migrated by this library: their "
            "backend has no migrations. Change the schema with the tools of the engine"
        )
    return migrations


@cache
def _load(name: str) -> Backend:
    installed = entry_points(group="orm.backends")
    found = [entry for entry in installed if entry.name == name]
    if not found:
        known = ", ".join(sorted(entry.name for entry in installed)) or "none"
        raise ConfigurationError(
            f"no backend for {name!r} URLs is installed (installed: {known}); "
            "a distribution provides one in the entry point group 'orm.backends'"
        )
    if len({entry.value for entry in found}) > 1:
        several = ", ".join(sorted(entry.value for entry in found))
        raise ConfigurationError(
            f"several backends for {name!r} URLs are installed ({several}): uninstall all but one"
        )
    backend: Backend = found[0].load()()
    return backend
