"""A bookmark: a state of a database, as a value that compares, merges and travels.

A bookmark is a *history* (which database, which life of it) and a *position* in it. The position
is a vector: engines with one line of commits have a single domain, GTID engines have several, and
a timeline that a failover has ended stays in the vector as a domain of its own.

So a bookmark stands for a set of transactions, each of which is a number of a domain. As a rule
the set has all numbers of a domain up to its last one. A GTID set may lack some of them: MySQL's
``uuid:1-5:8-20`` has a *hole* of 6 and 7.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from orm.exceptions import ForeignBookmark, InvalidBookmark

__all__ = ["MAX_TOKEN_LENGTH", "Bookmark"]

MAX_TOKEN_LENGTH: Final = 1024
"""Characters; a longer token is neither made nor read."""

_VERSION: Final = "v1."
_SIGNATURE_BYTES: Final = 16  # NIST SP 800-107, 5.3.3: a MAC may be cut to 128 bits
_MAX_SEQUENCE: Final = 2**63 - 1

Hole = tuple[str, int, int]
"""A domain, and the first and the last of the numbers that are missing in it."""

_PAYLOAD: Final = re.compile(
    rb"(?P<history>[A-Za-z0-9_-]{1,64})"
    rb"(?P<position>(?:/[A-Za-z0-9_:-]{0,69}=(?:0|[1-9][0-9]{0,18})"
    rb"(?:![1-9][0-9]{0,18}-[1-9][0-9]{0,18})*)+)"
    rb"(?:~(?P<shown>[1-9][0-9]{0,18}))?"
)


@dataclass(frozen=True, slots=True, repr=False)
class Bookmark:
    """A state of a database: the transactions of a history that were committed up to it.

    Args:
        history: identifies the database and this life of it; 1 to 64 letters, digits, ``-``
            and ``_``.
        position: pairs of (domain, last sequence number), sorted by domain. A domain has at most
            69 letters, digits, ``-``, ``_`` and ``:``, enough for MySQL's ``uuid:tag``.
        shown: a replica may have shown transactions with lower numbers than this one before the
            primary shows them (`orm.backends.Fences`); 0 if there are none. A replica that is at
            the position shows all of them.
    """

    history: str
    position: tuple[tuple[str, int], ...]
    shown: int = 0

    @classmethod
    def at(cls, history: str, sequence: int) -> Self:
        """The bookmark of an engine with a single line of commits."""
        return cls(history, (("", sequence),))

    @staticmethod
    def of_intervals(
        history: str, intervals: Mapping[str, Iterable[tuple[int, int]]], shown: int = 0
    ) -> "Bookmark":
        """The bookmark of a GTID set.

        Args:
            history: as in `Bookmark`.
            intervals: for each domain pairs of (first, last) sequence number, both included, of 1
                or more; in any order.
            shown: as in `Bookmark`.
        """
        position: list[tuple[str, int]] = []
        holes: list[Hole] = []
        for domain, pairs in sorted(intervals.items()):
            end = 0
            for first, last in sorted(pairs):
                if first > end + 1:
                    holes.append((domain, end + 1, first - 1))
                end = max(end, last)
            position.append((domain, end))
        return _bookmark(history, position, shown, holes)

    def __repr__(self) -> str:
        """The history and, for each domain, its last number, or its intervals if it has holes."""
        shown = f", shown below {self.shown}" if self.shown else ""
        return f"<Bookmark history={self.history} {', '.join(self._domains())}{shown}>"

    def _domains(self) -> Iterator[str]:
        for domain, last in self.position:
            name, first, intervals = f"{domain}=" if domain else "", 1, ""
            for _, hole, hole_end in (hole for hole in self.holes if hole[0] == domain):
                intervals += f"{first}-{hole - 1}:" if first < hole else ""
                first = hole_end + 1
            yield f"{name}{intervals}{first}-{last}" if first > 1 else f"{name}{last}"

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The numbers that are missing below the last ones: sorted, in as few holes as possible."""
        return ()

    def up_to_first_gap(self) -> "Bookmark":
        """The largest bookmark without holes that this one covers.

        A backend may shorten the position of a server in this way: a replica that commits out of
        order closes its gaps by itself, and counts as behind until then. What a session needs
        must not be shortened.
        """
        return self

    def covers(self, other: "Bookmark") -> bool:
        """Whether a server at this position has every transaction that `other` stands for."""
        # This one has no holes, so those of `other` do not matter: only its last numbers do.
        if self.history != other.history:
            return False
        if self.position == other.position:  # as a rule, between two writes
            return True
        if len(self.position) == len(other.position) == 1:  # and after a write
            [(domain, at)], [(other_domain, sequence)] = self.position, other.position
            return domain == other_domain and at >= sequence
        mine = dict(self.position)
        for domain, sequence in other.position:  # noqa: SIM110 -- twice as fast, for each read
            if mine.get(domain, -1) < sequence:
                return False
        return True

    def merge(self, other: "Bookmark") -> "Bookmark":
        """The least bookmark that covers both: the union of their transactions.

        Raises:
            ForeignBookmark: the two are of different histories.
        """
        if self.history != other.history:
            raise ForeignBookmark("bookmarks of two different databases cannot be merged")
        if other.shown <= self.shown and self.covers(other):
            return self
        if self.shown <= other.shown and other.covers(self):
            return other
        return self._union(other)

    def behind(self, head: "Bookmark") -> int | None:
        """How many numbers of `head` this lacks, over all domains; None if the histories differ."""
        if self.history != head.history:
            return None
        if self.holes or head.holes:
            return self._union(head)._count() - self._count()
        mine = dict(self.position)
        steps = 0
        for domain, sequence in head.position:
            at = mine.get(domain, 0)
            if at < sequence:
                steps += sequence - at
        return steps

    def _union(self, other: "Bookmark") -> "Bookmark":
        merged = dict(self.position)
        for domain, sequence in other.position:
            if merged.get(domain, -1) < sequence:
                merged[domain] = sequence
        position = tuple(sorted(merged.items()))
        shown = max(self.shown, other.shown)
        if not self.holes and not other.holes:
            return Bookmark(self.history, position, shown)
        holes: list[Hole] = []
        for domain, end in position:  # a union lacks what both of them lack
            theirs = other._missing(domain, end)
            holes += [
                (domain, max(first, other_first), min(last, other_last))
                for first, last in self._missing(domain, end)
                for other_first, other_last in theirs
                if first <= other_last and other_first <= last
            ]
        return _bookmark(self.history, position, shown, holes)

    def _missing(self, domain: str, end: int) -> list[tuple[int, int]]:
        """The numbers of a domain, from 1 up to `end`, that this lacks."""
        missing = [(first, last) for name, first, last in self.holes if name == domain]
        last = dict(self.position).get(domain, 0)
        return [*missing, (last + 1, end)] if last < end else missing

    def _count(self) -> int:
        holes = sum(last - first + 1 for _, first, last in self.holes)
        return sum(last for _, last in self.position) - holes

    def encode(self, keys: Sequence[bytes] = ()) -> str:
        """The opaque, URL-safe, versioned token that clients carry.

        Args:
            keys: secret keys; the first one signs. Without keys the token is not signed.

        Raises:
            InvalidBookmark: the token would have more than `MAX_TOKEN_LENGTH` characters. The
                backend has to name less in `Backend.as_need`.
        """
        shown = f"~{self.shown}" if self.shown else ""
        token = _VERSION + _b64(f"{self.history}{self._position()}{shown}".encode())
        if keys:
            token = f"{token}.{_signature(token, keys[0])}"
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidBookmark(
                f"a bookmark has at most {MAX_TOKEN_LENGTH} characters, and this one has "
                f"{len(token)}: it names {len(self.position)} domains and {len(self.holes)} holes"
            )
        return token

    def _position(self) -> str:
        return "".join(f"/{domain}={sequence}" for domain, sequence in self.position)

    @staticmethod
    def decode(token: str, keys: Sequence[bytes] = ()) -> "Bookmark":
        """The bookmark in a token that came from outside.

        Args:
            token: what `encode` returned, once.
            keys: the keys that are accepted; with any, an unsigned token is refused.

        Raises:
            InvalidBookmark: it did not, or the signature does not match. No database is touched.
        """
        if not isinstance(token, str):
            raise InvalidBookmark(f"a bookmark is a str, not {type(token).__name__}")
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidBookmark(f"a bookmark has at most {MAX_TOKEN_LENGTH} characters")
        if not token.startswith(_VERSION) or not token.isascii():
            raise InvalidBookmark(
                f"not a bookmark: {token[:40]!r}; send the string that bookmark() returned, or none"
            )
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
        return _parse(signed)


@dataclass(frozen=True, slots=True, repr=False)
class GappedBookmark(Bookmark):
    """A bookmark with holes, in a class of its own: without holes a comparison costs less."""

    _holes: tuple[Hole, ...] = ()

    @property
    def holes(self) -> tuple[Hole, ...]:
        return self._holes

    def up_to_first_gap(self) -> Bookmark:
        ends = {domain: first - 1 for domain, first, _ in reversed(self.holes)}
        position = tuple((domain, ends.get(domain, last)) for domain, last in self.position)
        return Bookmark(self.history, position, self.shown)

    def covers(self, other: Bookmark) -> bool:
        if self.history != other.history:
            return False
        union = self._union(other)
        return union.position == self.position and union.holes == self.holes

    def _position(self) -> str:
        holes: dict[str, str] = {}
        for domain, first, last in self.holes:
            holes[domain] = f"{holes.get(domain, '')}!{first}-{last}"
        return "".join(f"/{domain}={last}{holes.get(domain, '')}" for domain, last in self.position)


def _bookmark(
    history: str, position: Iterable[tuple[str, int]], shown: int, holes: Sequence[Hole]
) -> Bookmark:
    if holes:
        return GappedBookmark(history, tuple(position), shown, tuple(holes))
    return Bookmark(history, tuple(position), shown)


def _parse(payload: str) -> Bookmark:
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except binascii.Error as error:
        raise InvalidBookmark("not a bookmark: it does not decode") from error
    match = _PAYLOAD.fullmatch(raw)
    if match is None or _b64(raw) != payload:  # one state, one spelling
        raise InvalidBookmark("not a bookmark: it does not decode")
    position: list[tuple[str, int]] = []
    holes: list[Hole] = []
    sound = True
    for part in match["position"].decode().split("/")[1:]:
        domain, numbers = part.split("=")
        sequence, *gaps = numbers.split("!")
        position.append((domain, int(sequence)))
        end = -1  # of the hole before; two holes have a number between them, and the first too
        for gap in gaps:
            first, last = map(int, gap.split("-"))
            sound = sound and end + 1 < first <= last < int(sequence)
            holes.append((domain, first, last))
            end = last
    domains = [domain for domain, _ in position]
    shown = int(match["shown"] or 0)
    largest = max(shown, *(last for _, last in position))
    if not sound or domains != sorted(set(domains)) or largest > _MAX_SEQUENCE:
        raise InvalidBookmark("not a bookmark: it does not decode")
    return _bookmark(match["history"].decode(), position, shown, holes)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signature(token: str, key: bytes) -> str:
    return _b64(hmac.digest(key, token.encode(), hashlib.sha256)[:_SIGNATURE_BYTES])
