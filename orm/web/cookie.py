"""Bookmarks in cookies, so that parallel responses cannot undo one another.

A browser keeps the last value that it was given for a name, and responses may arrive in any
order: with a single name, a slow response would take the bookmark back to before a fast one's.
So each response that has news uses a name of its own, and removes the names that its request
brought, whose bookmarks it has merged. What parallel responses leave is merged by the next one.

A browser that would collect too many (`orm.web.crowds`) gets a mark in the place of a bookmark:
it has seen more than its cookies say, and reads from the primary. The name of a mark is the minute
in which it was set: it is removed by a response that began when all those of that minute had ended.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from time import time
from typing import Final, Literal

from orm._given import instance
from orm._numbers import count
from orm.exceptions import ConfigurationError
from orm.web.crowds import Crowd

__all__ = ["BookmarkCookie"]

_MOST_REMOVED: Final = 16
"""By one response, whose headers nginx takes up to 4 KB of; the next one removes more."""
_MINUTE: Final = 60
"""Seconds for which a response may be under way; proxies give up then."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2


@dataclass(frozen=True, slots=True, kw_only=True)
class BookmarkCookie:
    """How bookmarks are kept in cookies. Scripts cannot read them.

    Args:
        name: the beginning of their names.
        max_age: seconds; longer than a replica may ever lag.
        path: of the application.
        secure: over HTTPS only (browsers make an exception of localhost).
        same_site: ``"none"`` where pages of other sites call the application.

    Raises:
        ConfigurationError: browsers would refuse such a cookie.
    """

    name: str = "bookmark"
    max_age: int = 86_400
    path: str = "/"
    secure: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"

    def __post_init__(self) -> None:
        instance("the name of a cookie", self.name, str, "a text")
        if not _TOKEN.fullmatch(self.name):
            raise ConfigurationError(f"not a name for a cookie: {self.name!r}")
        if any(character in self.path for character in ";\r\n") or not self.path.startswith("/"):
            raise ConfigurationError(f"not a path for a cookie: {self.path!r}")
        count("max_age, in seconds,", self.max_age, least=1)
        if self.same_site == "none" and not self.secure:
            raise ConfigurationError("browsers take same_site='none' from secure cookies only")

    def read(self, headers: Iterable[str]) -> dict[str, str]:
        """The bookmarks among the cookies of a request.

        Args:
            headers: the values of its ``Cookie`` headers.

        Returns:
            Each bookmark by the name it came under. They are as strangers sent them.
        """
        pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
        ours = re.compile(re.escape(self.name) + r"-[0-9a-f]{8}")
        return {name: value for name, _, value in pairs if ours.fullmatch(name)}

    def marks(self, headers: Iterable[str]) -> frozenset[int]:
        """The minutes in which a browser was marked to read from the primary.

        Args:
            headers: the values of the request's ``Cookie`` headers.
        """
        mark = rf"(?:^|[;\s]){re.escape(self.name)}-primary-(\d{{1,12}})="
        return frozenset(map(int, re.findall(mark, ";".join(headers))))

    def write(
        self, bookmark: str, brought: Mapping[str, str], crowd: Crowd, marks: Iterable[int]
    ) -> Iterator[str]:
        """The ``Set-Cookie`` headers of a response.

        Args:
            bookmark: what the client is to keep.
            brought: what its request has brought, which is merged into that.
            crowd: what else is under way.
            marks: those because of which the browser has read from the primary now.
        """
        minute = int(time()) // _MINUTE
        # The least name: what parallel responses keep of several, none of them removes.
        kept = min((name for name, value in brought.items() if value == bookmark), default=None)
        if kept is None:
            name = f"{self.name}-{secrets.token_hex(4)}"
            if not crowd.hand_out(name):
                yield self._line(f"{self.name}-primary-{minute}", "1", self.max_age)
                return  # the bookmarks that it brought are still worth something
            yield self._line(name, bookmark, self.max_age)
        old = (f"{self.name}-primary-{mark}" for mark in marks if mark < minute - 1)
        yield from self.remove(chain(old, (name for name in brought if name != kept)))

    def remove(self, names: Iterable[str]) -> Iterator[str]:
        """The ``Set-Cookie`` headers that remove cookies, as many as one response may hold."""
        for name in islice(names, _MOST_REMOVED):
            yield self._line(name, "", 0)

    def _line(self, name: str, value: str, max_age: int) -> str:
        secure = "; Secure" if self.secure else ""
        return (
            f"{name}={value}; Max-Age={max_age}; Path={self.path}; HttpOnly{secure}; "
            f"SameSite={self.same_site.capitalize()}"
        )
