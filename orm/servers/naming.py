"""Where a server is, and what it is called if the user has given it no name."""

from collections.abc import Collection, Iterator
from itertools import chain, count

from sqlalchemy import URL

__all__ = ["address_of", "name_of"]


def address_of(url: URL) -> str | None:
    """The host of a URL, and its port if it has one; None if it has no host."""
    if not url.host:
        return None
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port}" if url.port else host


def name_of(url: URL, role: str, taken: Collection[str]) -> str:
    """The name of a server: its host, and its port if the URL has one.

    It stays true when servers change their roles. A server without a host, which is a file, has its
    role instead, and so has one of several hosts.

    Args:
        url: of the server.
        role: ``"primary"`` or ``"replica"``.
        taken: the names of other servers of the same `Database`.
    """
    name = address_of(url)
    if name is None:
        names = (f"{role}-{number}" for number in count(1))
        return role if role == "primary" else _first_free(names, taken)
    if name in taken and url.database:  # a pooler, perhaps
        name = f"{name}/{url.database}"
    return _first_free(chain([name], (f"{name} ({number})" for number in count(2))), taken)


def _first_free(names: Iterator[str], taken: Collection[str]) -> str:
    return next(name for name in names if name not in taken)
