"""Backends are found by the name in the URL: those registered here, then the installed ones."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from sqlalchemy import URL, make_url

from orm.backends.base import Backend
from orm.backends.migrations import Migrations
from orm.exceptions import ConfigurationError

__all__ = ["backend_for", "known_backends", "migrations_for", "register"]

_registered: Final[dict[str, Backend]] = {}


def register(name: str, factory: Callable[[], Backend]) -> None:
    """Use a backend in this process that no installed distribution provides.

    A distribution names its backend in the entry point group ``orm.backends`` instead, as
    SQLAlchemy's dialects are named in ``sqlalchemy.dialects``. This function is for the tests of
    a backend that is not installed, as `sqlalchemy.dialects.registry.register` is for a dialect.

    Args:
        name: of the URLs, up to a ``+`` or ``:``. A backend that is installed under this name, or
            was registered before, is not used any more.
        factory: makes the backend; called once, now. Usually its class.
    """
    _registered[name] = factory()


def backend_for(url: str | URL) -> Backend:
    """The backend for a database URL.

    Raises:
        ConfigurationError: no installed distribution provides one for this kind of URL, or several
            do.
    """
    name = make_url(url).get_backend_name()
    return _registered[name] if name in _registered else _installed(name)


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


def known_backends() -> list[str]:
    """The names of the backends that are registered or installed, in their order."""
    return sorted({entry.name for entry in entry_points(group="orm.backends")} | {*_registered})


@cache
def _installed(name: str) -> Backend:
    installed = entry_points(group="orm.backends")
    found = [entry for entry in installed if entry.name == name]
    if not found:
        known = ", ".join(known_backends()) or "none"
        meant = get_close_matches(name, known_backends(), n=1)
        hint = (
            f"SQLAlchemy calls it {meant[0]!r}: put that in the place of {name!r}. "
            if meant
            else ""
        )
        raise ConfigurationError(
            f"no backend for {name!r} URLs is installed (installed: {known}). {hint}"
            "A distribution provides one in the entry point group 'orm.backends'"
        )
    if len({entry.value for entry in found}) > 1:
        several = ", ".join(sorted(entry.value for entry in found))
        raise ConfigurationError(
            f"several backends for {name!r} URLs are installed ({several}): uninstall all but one"
        )
    backend: Backend = found[0].load()()
    return backend
