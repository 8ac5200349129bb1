"""The database of a target. No URL of a server is ever kept in the repository."""

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orm.exceptions import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["REMOTE_VARIABLE", "engine_urls", "target_text", "target_url", "wants_indexes"]

_DEFAULT_LOCAL: Final = "sqlite+aiosqlite:///app.db"
_LOCAL_VARIABLE: Final = "ORM_LOCAL_URL"
REMOTE_VARIABLE: Final = "ORM_REMOTE_URL"
_SETTINGS: Final = ("local", "engines", "index_foreign_keys")
"""What there is under ``[tool.orm]``."""


def target_url(target: str, pyproject: Path = Path("pyproject.toml")) -> "URL":
    """The URL of a target.

    Args:
        target: ``"local"``, the database of the checkout: the environment variable
            ``ORM_LOCAL_URL``, or else ``local`` under ``[tool.orm]``, or else
            ``sqlite+aiosqlite:///app.db``. ``"remote"``: the environment variable
            ``ORM_REMOTE_URL``.
        pyproject: the file that ``[tool.orm]`` is read from; it need not exist.

    Returns:
        The URL. A relative SQLite path in it is relative to the working directory.

    Raises:
        ConfigurationError: the target is unknown, or names no database, or one that is nowhere.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from orm.backends.address import checked

    try:
        return checked(make_url(target_text(target, pyproject)))
    except (ArgumentError, ValueError):
        # The cause may quote the value, and with it a password.
        raise ConfigurationError(
            f"{_source(target, pyproject)} is not a database URL, such as "
            "sqlite+aiosqlite:///app.db"
        ) from None


def target_text(target: str, pyproject: Path = Path("pyproject.toml")) -> str:
    """The URL of a target as it is written; it may be malformed.

    Arguments and errors are those of `target_url`.
    """
    match target:
        case "local":
            if value := os.environ.get(_LOCAL_VARIABLE):
                return value
            text = _settings(pyproject).get("local", _DEFAULT_LOCAL)
            if not isinstance(text, str):
                raise ConfigurationError(
                    f"{_source(target, pyproject)} is not a database URL, such as "
                    "sqlite+aiosqlite:///app.db"
                )
            return text
        case "remote":
            value = os.environ.get(REMOTE_VARIABLE)
            if not value:
                raise ConfigurationError(
                    f"the environment variable {REMOTE_VARIABLE} is not set: it names the remote "
                    "database, as in postgresql+asyncpg://user@host/name"
                )
            return value
        case _:
            raise ConfigurationError(
                f"there is no target {target!r}: choose local (the database of the "
                f"checkout) or remote (the database that {REMOTE_VARIABLE} names)"
            )


def wants_indexes(pyproject: Path) -> bool:
    """Whether every foreign key should have an index: ``index_foreign_keys`` under ``[tool.orm]``.

    Raises:
        ConfigurationError: it is neither true nor false.
    """
    said = _settings(pyproject).get("index_foreign_keys", True)
    if not isinstance(said, bool):
        raise ConfigurationError(
            f"[tool.orm] index_foreign_keys in {pyproject} is {said!r}: it is true or false"
        )
    return said


def engine_urls(pyproject: Path = Path("pyproject.toml")) -> "dict[str, URL]":
    """The engines that every revision has to suit: ``engines`` under ``[tool.orm]``.

    Args:
        pyproject: the file that ``[tool.orm]`` is read from; it need not exist.

    Returns:
        For each name of an engine a URL beside which it can have a scratch database: the local one,
        else one that names the engine alone. The local one's comes first, and is the only one where
        there is no ``engines``.

    Raises:
        ConfigurationError: it is no list of engines that are migrated here, or lacks the local one.
    """
    from sqlalchemy import URL

    from orm.backends import migrations_for

    local = target_url("local", pyproject)
    own = local.get_backend_name()
    named = _settings(pyproject).get("engines", [own])
    what = f"[tool.orm] engines in {pyproject}"
    if not (isinstance(named, list) and named and all(isinstance(name, str) for name in named)):
        raise ConfigurationError(
            f'{what} is not a list of names of engines, such as ["sqlite", "postgresql"]'
        )
    if own not in named:
        raise ConfigurationError(
            f"{what} does not name {own}, which is the engine of [tool.orm] local: add it"
        )
    urls = {own: local} | {name: URL.create(name) for name in named if name != own}
    for name, url in urls.items():
        try:
            migrations_for(url)
        except ConfigurationError as error:
            raise ConfigurationError(f"{what} names {name!r}: {error}") from error
    return urls


def _source(target: str, pyproject: Path) -> str:
    variable = _LOCAL_VARIABLE if target == "local" else REMOTE_VARIABLE
    by_file = target == "local" and not os.environ.get(variable)
    return f"[tool.orm] local in {pyproject}" if by_file else variable


def _settings(pyproject: Path) -> dict[str, Any]:
    """The table ``[tool.orm]``."""
    try:
        document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{pyproject} cannot be read: {error}") from error
    settings: dict[str, Any] = document.get("tool", {}).get("orm", {})
    if unknown := sorted(settings.keys() - _SETTINGS):
        raise ConfigurationError(
            f"[tool.orm] in {pyproject} has {unknown[0]}, which is no setting of it: there are "
            f"{', '.join(_SETTINGS)}"
        )
    return settings
