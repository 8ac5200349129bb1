"""Log records about a replica, none of which is repeated."""

import logging
from pathlib import Path
from typing import Final

from orm.backends.sqlite.replication.errors import ReplicationError

_logger = logging.getLogger("orm.replication")

_SLOW: Final = 0.25
"""Seconds that a copy may take without a remark."""
_LARGE: Final = 10_000_000
"""Bytes of a database; a smaller one is slow for a reason that is not its size."""
_PINNED: Final = 64 << 20
"""Bytes of the source's WAL that a lag may hold back without a remark."""


class Remarks:
    """The log of one replica."""

    def __init__(self, source: Path, replica: Path) -> None:
        """Name the replica that the records are about."""
        self._source = source
        self._replica = replica
        self._said: set[str] = set()
        self._failure = ""

    def failed(self, error: BaseException) -> None:
        """A pass failed and is tried again; the same failure again is not logged."""
        known, self._failure = self._failure, repr(error)
        if self._failure != known:
            expected = isinstance(error, ReplicationError)
            _logger.log(
                logging.WARNING if expected else logging.ERROR,
                "the replica %s is not kept up to date; trying again: %s",
                self._replica,
                error if expected else "an unexpected error",
                exc_info=None if expected and error.__cause__ is None else error,
            )

    def works(self) -> None:
        """A pass has worked: the next failure is logged."""
        if not self._failure:
            return
        _logger.info("the replica %s is kept up to date again", self._replica)
        self._failure = ""

    def damaged(self, how: str) -> None:
        """The replica cannot go on in the file that it has."""
        _logger.warning("making a new file for the replica %s: %s", self._replica, how)

    def copied(self, seconds: float) -> None:
        """A copy took some seconds: log it if that is long."""
        size = self._source.stat().st_size
        if seconds >= _SLOW and size >= _LARGE and self._first("slow"):
            _logger.warning(
                "copying %s (%.0f MB) to %s took %.2f s, and every commit asks for a copy of the "
                "whole: past this size, move to PostgreSQL and its streaming replicas",
                self._source,
                size / 1e6,
                self._replica,
                seconds,
            )

    def held(self, lag: float, wal_bytes: int) -> None:
        """A snapshot was held for a lag: log it if the source's WAL is large."""
        if lag and wal_bytes > _PINNED and self._first("pinned"):
            _logger.warning(
                "a lag of %g s keeps the WAL of %s from being used again: it has %.0f MB",
                lag,
                self._source,
                wal_bytes / 1e6,
            )

    def _first(self, what: str) -> bool:
        first = what not in self._said
        self._said.add(what)
        return first
