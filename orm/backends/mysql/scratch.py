"""An empty database beside another one, for as long as it is needed."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from orm.backends.mysql.driver import code
from orm.backends.mysql.state import DENIED
from orm.backends.mysql.sync import sync_engine
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["scratch"]

_PREFIX: Final = "orm_scratch_"
_FORGOTTEN: Final = 3600
"""Seconds after which a scratch database was left by a process that was killed."""
_LIKE: Final = text(
    "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
    " WHERE schema_name = :name"
)
_OLD: Final = text(
    "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE :pattern"
)


@contextmanager
def scratch(url: URL, *, beside: bool = False) -> Iterator[Connection]:
    """An empty database (`orm.backends.Migrations.scratch`), on the server of the URL.

    It has the character set and the collation of the URL's database, so that the same statements
    make the same things there.

    Raises:
        ConfigurationError: PyMySQL is not installed; or no server is named.
        MigrationError: the server cannot be reached, or the account may not create a database.
    """
    url = _server(url)
    name = f"{_PREFIX}{int(time.time()):x}_{secrets.token_hex(6)}"
    own = url.set(database=name)
    server = sync_engine(url.set(database=""))
    try:
        with server.connect() as connection:
            _create(connection, name, url)
        engine: Engine = sync_engine(own)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
            with server.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
    except DBAPIError as error:
        raise _refused(error, url) from error
    finally:
        server.dispose()


def _server(url: URL) -> URL:
    """Where it is made: the URL's server; or, of a URL that names an engine alone, the variable's.

    Raises:
        ConfigurationError: the variable is not set, or is no URL.
    """
    if url.host or url.database or url.query:
        return url
    engine = url.get_backend_name()
    variable = f"ORM_{engine.upper()}_SERVER"
    try:
        return make_url(os.environ[variable]).set(database=None)
    except (KeyError, ArgumentError):
        raise ConfigurationError(
            f"[tool.orm] engines names {engine}, and revisions are tried on a server of it: set "
            f"{variable} to one, as in {engine}+asyncmy://root@127.0.0.1. Scratch databases are "
            "made there, and nothing else is touched"
        ) from None


def _create(connection: Connection, name: str, url: URL) -> None:
    like = url.database or ""
    found = connection.execute(_LIKE, {"name": like}).first()
    words = f" CHARACTER SET {found[0]} COLLATE {found[1]}" if found else ""
    for old in connection.scalars(_OLD, {"pattern": _PREFIX.replace("_", r"\_") + "%"}).all():
        if old != like and _age(old) > _FORGOTTEN:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {old}")
    connection.exec_driver_sql(f"CREATE DATABASE {name}{words}")


def _age(name: str) -> float:
    """Seconds since a scratch database was made."""
    began, _, _ = name.removeprefix(_PREFIX).partition("_")
    return time.time() - int(began, 16)


def _refused(error: DBAPIError, url: URL) -> DBAPIError | MigrationError:
    """What to raise in place of an error of the server."""
    statement = error.statement or ""
    if code(error) in DENIED and "DATABASE" in statement:
        return MigrationError(
            f"the account {url.username} may not create the scratch database in which revisions "
            r"are replayed for a comparison: GRANT ALL ON `orm\_scratch\_%`.* TO the account"
        )
    if not statement:
        return MigrationError(
            "there is no server for the scratch database in which revisions are replayed: "
            f"{url.host or 'the local one'} does not answer ({error.orig}). Start it"
        )
    return error
