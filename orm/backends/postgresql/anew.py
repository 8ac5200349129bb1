"""A PostgreSQL database begun anew: its schemas dropped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from orm.backends.postgresql.driver import arguments
from orm.backends.postgresql.sync import sync_url
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["begin_anew"]

_SCHEMAS: Final = text("""\
SELECT nspname FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'""")


@contextmanager
def begin_anew(url: URL, suits: Callable[[URL], bool]) -> Iterator[tuple[URL, str | None]]:
    """Drop all schemas, and make the current one anew; a place in the log is no restore point here.

    Raises:
        ConfigurationError: psycopg is not installed.
        MigrationError: the account may not drop them.
    """
    plain = sync_url(url)
    if plain is None:
        raise ConfigurationError("to empty a database: pip install 'bookmark-orm[psycopg]'")
    engine = create_engine(plain, **arguments(plain, {"poolclass": NullPool}))
    try:
        with engine.begin() as connection:
            quote = connection.dialect.identifier_preparer.quote
            current = connection.scalar(text("SELECT current_schema()"))
            for schema in connection.scalars(_SCHEMAS).all():
                connection.exec_driver_sql(f"DROP SCHEMA {quote(schema)} CASCADE")
            if current is not None:
                connection.exec_driver_sql(f"CREATE SCHEMA {quote(current)}")
    except DBAPIError as error:
        raise MigrationError(f"the database cannot be emptied: {error.orig}") from error
    finally:
        engine.dispose()
    yield url, None
