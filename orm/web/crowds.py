"""How many bookmarks a browser may collect while its requests run in parallel.

Each of them is a cookie, and proxies refuse a request whose cookies are too long: nginx at 8 KB. So
this process hands one browser no more than `MOST` that it has not brought back. What is more than
that is not handed out; the browser gets a mark instead, and reads from the primary.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from orm.web.asgi import Scope, header_values

__all__ = ["MOST", "Crowd", "Crowds"]

MOST: Final = 8
"""Browsers send 6 requests at once with HTTP/1.1, and 100 with HTTP/2."""


class Crowd:
    """The requests of one browser that are under way."""

    def __init__(self) -> None:
        self.requests: int = 0
        self._names: set[str] = set()

    def bring_back(self, names: Iterable[str]) -> None:
        """A request has brought cookies of these names."""
        self._names.difference_update(names)

    def hand_out(self, name: str) -> bool:
        """Whether a response may set a cookie of a new name."""
        if len(self._names) >= MOST:
            return False
        self._names.add(name)
        return True


class Crowds:
    """The requests that are under way, by browser."""

    def __init__(self) -> None:
        self._crowds: MutableMapping[object, Crowd] = {}

    @contextmanager
    def join(self, scope: Scope, ours: str, names: Iterable[str]) -> Iterator[Crowd]:
        """The crowd that a request belongs to until it ends.

        Args:
            scope: the request's.
            ours: how the names of our cookies begin, which do not tell browsers apart.
            names: of the bookmarks among them.
        """
        key = _browser(scope, ours)
        crowd = self._crowds.setdefault(key, Crowd())
        crowd.bring_back(names)
        crowd.requests += 1
        try:
            yield crowd
        finally:
            crowd.requests -= 1
            if not crowd.requests:
                del self._crowds[key]


def _browser(scope: Scope, ours: str) -> Any:
    """What tells a browser from others: its address, its other cookies, its name."""
    pairs = (pair.strip() for value in header_values(scope, b"cookie") for pair in value.split(";"))
    others = frozenset(pair for pair in pairs if pair and not pair.startswith(ours))
    client = scope.get("client") or ("",)
    return client[0], others, *header_values(scope, b"user-agent")
