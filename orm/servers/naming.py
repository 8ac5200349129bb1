"""What a server is called by which the user gave no name."""

from collections.abc import Collection, Iterator
from itertools import chain, count

from sqlalchemy import URL

__all__ = ["name_of"]


def name_of(url: URL, role: str, taken: Collection[str]) -> str:
    """The name of a server: its host, and its port if the URL has one.

    It stays true when servers change their roles. A server without a host, which is a file, has its
    role instead, and so has one of several hosts.

    Args:
        url: of the server.
        role: ``"primary"`` or ``"replica"``.
        taken: the names of other servers of the same `Database`.
    """
    if not url.host:
        names = (f"{role}-{number}" for number in count(1))
        return role if role == "primary" else _first_free(names, taken)
    host = f"[{url.host}]" if ":" in url.host else url.host
    name = f"{host}:{url.port}" if url.port else host
    if name in taken and url.database:  # a pooler, perhaps
        name = f"{name}/{url.database}"
    return _first_free(chain([name], (f"{name} ({number})" for number in count(2))), taken)


def _first_free(names: Iterator[str], taken: Collection[str]) -> str:
    return next(name for name in names if name not in taken)
