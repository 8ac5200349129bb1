"""PyMySQL: a driver without an event loop, whatever driver a URL names."""

from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool

from orm.exceptions import ConfigurationError

__all__ = ["sync_engine"]

_CONNECTING = 10
"""Seconds for a connection, if the URL names none."""


def sync_engine(url: URL, **options: Any) -> Engine:
    """An engine of PyMySQL: migrations are one statement after the other.

    Args:
        url: of the database. All three drivers know the same parameters.
        options: for SQLAlchemy's engine.

    Raises:
        ConfigurationError: PyMySQL is not installed.
    """
    if find_spec("pymysql") is None:
        raise ConfigurationError(
            "migrations of MariaDB and MySQL run through PyMySQL, which is not installed: pip "
            "install 'bookmark-orm[asyncmy]' or 'bookmark-orm[aiomysql]'"
        )
    same = url.set(drivername=f"{url.get_backend_name()}+pymysql")
    if "connect_timeout" not in url.query:
        same = same.update_query_dict({"connect_timeout": str(_CONNECTING)})
    return create_engine(same, **{"poolclass": NullPool} | options)
