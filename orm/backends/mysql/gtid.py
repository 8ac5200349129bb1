"""Sets of global transaction identifiers (GTIDs), as the two engines write them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from orm.exceptions import ConfigurationError

__all__ = ["GtidSet"]

_MARIADB: Final = re.compile(r"(\d+)-(\d+)-(\d+)")
_MYSQL: Final = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+))?(?:#\d+)?")


@dataclass(frozen=True, slots=True)
class GtidSet:
    """Which transactions of which writers a server has.

    Attributes:
        intervals: for each writer pairs of (first, last) number, both included, sorted. A writer
            is MySQL's server UUID, or MariaDB's server id, whose set has only last numbers.
    """

    intervals: Mapping[str, tuple[tuple[int, int], ...]]

    @classmethod
    def parse(cls, *texts: str) -> Self:
        """The union of what a server says in one or several variables.

        Raises:
            ConfigurationError: it has domains or tags, which positions do not tell apart.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        for part in ",".join(texts).replace("\n", "").split(","):
            if not part.strip():
                continue
            writer, pairs = _mysql(part.strip()) if ":" in part else _mariadb(part.strip())
            found.setdefault(writer, []).extend(pairs)
        return cls({writer: _joined(pairs) for writer, pairs in sorted(found.items())})

    def end(self, writer: str) -> int:
        """The last number of a writer; 0 without one."""
        pairs = self.intervals.get(writer)
        return pairs[-1][1] if pairs else 0

    def reached(self, writer: str, start: int) -> int:
        """The number up to which nothing of a writer is missing after `start`.

        A replica that commits out of order has gaps, which it closes by itself.
        """
        for first, last in self.intervals.get(writer, ()):
            if first <= start + 1 <= last + 1:
                return last
        return start

    def missing(self, writer: str, start: int, end: int) -> frozenset[int]:
        """The numbers of a writer that are not in the set, of those after `start` up to `end`."""
        missing = set(range(start + 1, end + 1))
        for first, last in self.intervals.get(writer, ()):
            missing.difference_update(range(max(first, start + 1), min(last, end) + 1))
        return frozenset(missing)


def _mariadb(gtid: str) -> tuple[str, list[tuple[int, int]]]:
    match = _MARIADB.fullmatch(gtid)
    if match is None:
        raise ConfigurationError(f"not a GTID: {gtid!r}")
    domain, server, number = match.groups()
    if domain != "0":
        raise ConfigurationError(
            f"the servers use GTID domain {domain}: only gtid_domain_id=0 is supported, since the "
            "transactions of several domains have no order"
        )
    return server, [(1, int(number))]


def _mysql(gtid: str) -> tuple[str, list[tuple[int, int]]]:
    writer, *parts = gtid.split(":")
    pairs: list[tuple[int, int]] = []
    for part in parts:
        match = _MYSQL.fullmatch(part.strip())
        if match is None:
            raise ConfigurationError(
                f"the servers use tagged GTIDs ({gtid}), which are not supported: set "
                "gtid_next='AUTOMATIC' where they are written"
            )
        first = int(match["first"])
        pairs.append((first, int(match["last"] or first)))
    return writer.lower(), pairs


def _joined(pairs: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)
