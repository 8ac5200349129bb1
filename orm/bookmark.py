"""A bookmark: a state of a database, as a value that compares, merges and travels.

A bookmark is a *history* (which database, which life of it) and a *position* in it. The position
is a vector: engines with one line of commits have a single domain, GTID engines one per domain,
and a timeline that was left by a failover stays behind as a domain of its own.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from orm.exceptions import ForeignBookmark, InvalidBookmark

__all__ = ["MAX_TOKEN_LENGTH", "Bookmark"]

MAX_TOKEN_LENGTH: Final = 1024
"""Characters; a longer token is refused unread."""

_VERSION: Final = "v1."
_SIGNATURE_BYTES: Final = 16  # NIST SP 800-107, 5.3.3: a MAC may be cut to 128 bits
_MAX_SEQUENCE: Final = 2**63 - 1
_PAYLOAD: Final = re.compile(
    rb"(?P<history>[A-Za-z0-9_-]{1,64})"
    rb"(?P<position>(?:/[A-Za-z0-9_-]{0,64}=(?:0|[1-9][0-9]{0,18})){1,32})"
    rb"(?:~(?P<shown>[1-9][0-9]{0,18}))?"
)


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A state of a database: all that was committed up to a position of a history.

    Args:
        history: identifies the database and this life of it; letters, digits, ``-`` and ``_``.
        position: pairs of (domain, sequence number), sorted by domain.
        shown: replicas may have shown transactions with lower numbers than this before the primary
            does (`Backend.hidden`); 0 if there is no such thing. A replica that is at the position
            shows all of it.
    """

    history: str
    position: tuple[tuple[str, int], ...]
    shown: int = 0

    @classmethod
    def at(cls, history: str, sequence: int) -> Self:
        """The bookmark of an engine with a single line of commits."""
        return cls(history, (("", sequence),))

    def covers(self, other: "Bookmark") -> bool:
        """Whether a server that is here has everything that `other` stands for."""
        if self.history != other.history:
            return False
        if self.position == other.position:  # as a rule, while nobody writes
            return True
        if len(self.position) == len(other.position) == 1:  # and while somebody does
            [(domain, at)], [(other_domain, sequence)] = self.position, other.position
            return domain == other_domain and at >= sequence
        mine = dict(self.position)
        for domain, sequence in other.position:  # noqa: SIM110 -- twice as fast, for each read
            if mine.get(domain, -1) < sequence:
                return False
        return True

    def merge(self, other: "Bookmark") -> "Bookmark":
        """The least bookmark that covers both.

        Raises:
            ForeignBookmark: the two are of different histories.
        """
        if self.history != other.history:
            raise ForeignBookmark("bookmarks of two different databases cannot be merged")
        if other.shown <= self.shown and self.covers(other):
            return self
        if self.shown <= other.shown and other.covers(self):
            return other
        merged = dict(self.position)
        for domain, sequence in other.position:
            merged[domain] = max(sequence, merged.get(domain, -1))
        return Bookmark(self.history, tuple(sorted(merged.items())), max(self.shown, other.shown))

    def behind(self, head: "Bookmark") -> int | None:
        """How many steps this lies behind `head`, over all domains; None across histories."""
        if self.history != head.history:
            return None
        mine = dict(self.position)
        return sum(max(0, sequence - mine.get(domain, 0)) for domain, sequence in head.position)

    def encode(self, keys: Sequence[bytes] = ()) -> str:
        """The opaque, URL-safe, versioned token that clients carry.

        Args:
            keys: secret keys; the first one signs. Without keys the token is not signed.
        """
        position = "".join(f"/{domain}={sequence}" for domain, sequence in self.position)
        shown = f"~{self.shown}" if self.shown else ""
        token = _VERSION + _b64(f"{self.history}{position}{shown}".encode())
        return f"{token}.{_signature(token, keys[0])}" if keys else token

    @classmethod
    def decode(cls, token: str, keys: Sequence[bytes] = ()) -> Self:
        """The bookmark in a token that came from outside.

        Args:
            token: what `encode` returned, once.
            keys: the keys that are accepted; with any, an unsigned token is refused.

        Raises:
            InvalidBookmark: whatever else the token may be. No database is touched.
        """
        if not isinstance(token, str):
            raise InvalidBookmark(f"a bookmark is a str, not {type(token).__name__}")
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidBookmark(f"a bookmark has at most {MAX_TOKEN_LENGTH} characters")
        if not token.startswith(_VERSION) or not token.isascii():
            raise InvalidBookmark(f"not a bookmark: {token[:40]!r}")
        signed, dot, signature = token[len(_VERSION) :].partition(".")
        if bool(dot) != bool(keys):
            raise InvalidBookmark(
                "the bookmark is not signed"
                if keys
                else "the bookmark is signed, and no key is configured to check it"
            )
        if keys and not any(
            hmac.compare_digest(signature, _signature(_VERSION + signed, key)) for key in keys
        ):
            raise InvalidBookmark("the bookmark's signature does not match")
        return cls._parse(signed)

    @classmethod
    def _parse(cls, payload: str) -> Self:
        try:
            raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        except binascii.Error as error:
            raise InvalidBookmark("not a bookmark: it does not decode") from error
        match = _PAYLOAD.fullmatch(raw)
        if match is None or _b64(raw) != payload:  # one state, one spelling
            raise InvalidBookmark("not a bookmark: it does not decode")
        pairs = [part.split("=") for part in match["position"].decode().split("/")[1:]]
        position = tuple((domain, int(sequence)) for domain, sequence in pairs)
        domains = [domain for domain, _ in position]
        shown = int(match["shown"] or 0)
        if domains != sorted(set(domains)) or max(shown, *dict(position).values()) > _MAX_SEQUENCE:
            raise InvalidBookmark("not a bookmark: it does not decode")
        return cls(match["history"].decode(), position, shown)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signature(token: str, key: bytes) -> str:
    return _b64(hmac.digest(key, token.encode(), hashlib.sha256)[:_SIGNATURE_BYTES])
