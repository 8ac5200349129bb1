"""An empty database on a server, for as long as it is needed."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from orm.backends.postgresql import scratch_server
from orm.backends.postgresql.driver import arguments, bounded
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
_MAY: Final = text("""\
SELECT current_setting('server_version_num')::integer / 10000 AS version,
rolcreatedb OR rolsuper AS may
FROM pg_roles WHERE rolname = current_user""")
_KNOWN: Final = text("SELECT true FROM pg_roles WHERE rolname = :name")
_ADDRESS: Final = frozenset({"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey"})
"""Parameters that lead to a server."""
_INSTALL: Final = "pip install 'bookmark-orm[postgresql-testing]', for a server of its own"


@contextmanager
def scratch(url: URL, *, beside: bool = False) -> Iterator[Connection]:
    """An empty database (`orm.backends.Migrations.scratch`).

    It is on a server that is this process's own, where PostgreSQL's programs are at hand: in half a
    second, whatever account the URL names. Else it is on the URL's server. A transaction that is
    rolled back would do without the right to create a database, but revisions may name a schema,
    and commit.

    Raises:
        ConfigurationError: psycopg is not installed, or cannot connect to this URL.
        MigrationError: there are no programs, and the server cannot be reached, or the account may
            not create a database.
    """
    plain = sync_url(url)
    if plain is None:
        raise ConfigurationError(
            "to compare with a PostgreSQL database, revisions are replayed in a scratch database, "
            "through psycopg, which is not installed or does not know a parameter of the URL: pip "
            "install 'bookmark-orm[psycopg]'"
        )
    with ExitStack() as stack:
        yield stack.enter_context(_database(_server(plain, stack, beside=beside)))


def _server(url: URL, stack: ExitStack, *, beside: bool) -> URL:
    """Where the database is made."""
    if scratch_server.is_there(url):
        return url
    own = scratch_server.is_possible()
    if own and not beside:
        return _as(url, stack.enter_context(scratch_server.running()))
    try:
        with _engine(url).connect() as server:
            version, may = server.execute(_MAY).one()
    except DBAPIError as error:
        if beside:
            raise  # what is compared is there
        raise MigrationError(
            f"there is no server for the scratch database in which revisions are replayed: "
            f"{url.host or 'the local one'} does not answer ({error.orig}). Start it; or {_INSTALL}"
        ) from error
    if may:
        return url
    if own:
        instead = _as(url, stack.enter_context(scratch_server.running()))
        with _engine(instead).connect() as server:
            if server.execute(_MAY).one().version == version:
                return instead
    raise MigrationError(
        f"the account {url.username} may not create the scratch database in which revisions are "
        f"replayed for a comparison: ALTER ROLE … CREATEDB; or {_INSTALL}, if that is PostgreSQL "
        f"{version}"
    )


def _as(url: URL, own: URL) -> URL:
    """This process's own server, for the account that a URL names, and with its other settings."""
    if url.username and url.username != own.username:
        with _engine(own).connect() as server:
            quoted = server.dialect.identifier_preparer.quote(url.username)
            known = server.scalar(_KNOWN, {"name": url.username})
            if not known:
                server.exec_driver_sql(f"CREATE ROLE {quoted} SUPERUSER LOGIN")
        own = own.set(username=url.username)
    others = {key: value for key, value in url.query.items() if key not in _ADDRESS}
    return own.update_query_dict(others)


@contextmanager
def _database(url: URL) -> Iterator[Connection]:
    """An empty database on a server.

    It has the schema and the search path of the account's own database, so that the same statements
    make the same things there.
    """
    name = f"{_PREFIX}{int(time.time()):x}_{secrets.token_hex(6)}"
    # Without the log: it takes a checkpoint, which others would notice.
    strategy = " STRATEGY file_copy" if scratch_server.is_there(url) else ""
    with _engine(url).connect() as server:
        schema, path = server.execute(
            text("SELECT current_schema(), current_setting('search_path')")
        ).one()
        _sweep(server)
        # Not template1: PostgreSQL cannot copy it while any session is connected to it.
        server.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0{strategy}")
        try:
            with _connected(url.set(database=name), schema, path) as connection:
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
