"""psycopg without an event loop, whatever driver a URL names."""

from importlib.util import find_spec
from typing import Final

from sqlalchemy import URL

__all__ = ["sync_url"]

_SAME: Final = frozenset({"host", "port"})
"""Parameters of a URL that SQLAlchemy's drivers for PostgreSQL all understand."""


def sync_url(url: URL) -> URL | None:
    """The same database through psycopg.

    Returns:
        The URL; None if psycopg is not installed, or there is a parameter in the URL that only its
        own driver understands.
    """
    if find_spec("psycopg") is None:
        return None
    if url.get_driver_name() == "psycopg":
        return url
    # asyncpg's name for it; the values are libpq's.
    query = {("sslmode" if key == "ssl" else key): value for key, value in url.query.items()}
    if set(query) - _SAME - {"sslmode"}:
        return None
    return url.set(drivername="postgresql+psycopg", query=query)
