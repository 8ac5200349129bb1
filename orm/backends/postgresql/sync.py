"""psycopg without an event loop, whatever driver a URL names."""

from importlib.util import find_spec
from typing import Final

from sqlalchemy import URL

__all__ = ["is_tuned", "sync_url"]

_SAME: Final = frozenset({"host", "port", "ssl", "sslmode"})
"""Parameters that lead to the same server through any driver; ``ssl`` is asyncpg's ``sslmode``."""
_TUNING: Final = frozenset(
    {
        "command_timeout",
        "max_cached_statement_lifetime",
        "max_cacheable_statement_size",
        "prepared_statement_cache_size",
        "statement_cache_size",
        "timeout",
    }
)
"""Those of asyncpg that make no difference to where it leads."""


def is_tuned(url: URL) -> bool:
    """Whether a URL asks more of its own driver than where the database is."""
    return not _SAME.issuperset(url.query)


def sync_url(url: URL) -> URL | None:
    """The same database through psycopg.

    Returns:
        The URL; None if psycopg is not installed, or would not know what a parameter means.
    """
    if find_spec("psycopg") is None:
        return None
    if url.get_driver_name() == "psycopg":
        return url
    if set(url.query) - _SAME - _TUNING:
        return None
    query = {
        ("sslmode" if key == "ssl" else key): value
        for key, value in url.query.items()
        if key in _SAME
    }
    return url.set(drivername="postgresql+psycopg", query=query)
