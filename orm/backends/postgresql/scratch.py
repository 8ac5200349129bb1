"""An empty database on a server, for as long as it is needed."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from orm.backends.postgresql.driver import arguments, bounded, sqlstate
from orm.backends.postgresql.sync import sync_url
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["scratch"]

_PREFIX: Final = "orm_scratch_"
_FORGOTTEN: Final = 3600
"""Seconds after which a scratch database without connections was left by a killed process."""
_OLD: Final = text("""\
SELECT datname FROM pg_database d
WHERE datname ~ :pattern AND pg_has_role(datdba, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)""")
_INSUFFICIENT_PRIVILEGE: Final = "42501"


@contextmanager
def scratch(url: URL) -> Iterator[Connection]:
    """An empty database beside the URL's (`orm.backends.Migrations.scratch`).

    It has the schema and the search path of the connection's own database, so that the same
    statements make the same things there. A transaction that is rolled back would do without the
    right to create a database, but revisions may name a schema, and commit.

    Raises:
        ConfigurationError: psycopg is not installed, or cannot connect to this URL.
        MigrationError: the account may not create a database.
    """
    plain = sync_url(url)
    if plain is None:
        raise ConfigurationError(
            "to compare with a PostgreSQL database, revisions are replayed in a scratch database "
            "on its server, through psycopg, which is not installed or does not know a parameter "
            "of the URL: pip install 'bookmark-orm[psycopg]'"
        )
    name = f"{_PREFIX}{int(time.time()):x}_{secrets.token_hex(6)}"
    with _engine(plain).connect() as server:
        schema, path = server.execute(
            text("SELECT current_schema(), current_setting('search_path')")
        ).one()
        _sweep(server)
        try:
            # Not template1: PostgreSQL cannot copy it while any session is connected to it.
            server.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
        except DBAPIError as error:
            if sqlstate(error) != _INSUFFICIENT_PRIVILEGE:
                raise
            raise MigrationError(
                f"the account {plain.username} may not create the scratch database in which "
                "revisions are replayed for a comparison: ALTER ROLE … CREATEDB"
            ) from error
        try:
            with _connected(plain.set(database=name), schema, path) as connection:
                yield connection
        finally:
            server.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _engine(url: URL) -> Engine:
    options = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
    return create_engine(url, **arguments(url, bounded(url, options)))


def _sweep(server: Connection) -> None:
    for name in server.scalars(_OLD, {"pattern": f"^{_PREFIX}[0-9a-f]+_[0-9a-f]{{12}}$"}).all():
        made_at, _, _ = name.removeprefix(_PREFIX).partition("_")
        if time.time() - int(made_at, 16) > _FORGOTTEN:
            server.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


@contextmanager
def _connected(url: URL, schema: str | None, path: str) -> Iterator[Connection]:
    with _engine(url).connect() as connection:
        quote = connection.dialect.identifier_preparer.quote
        if schema is not None:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        for name, value in (("search_path", path), ("synchronous_commit", "off")):
            connection.execute(
                text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value}
            )
        yield connection
