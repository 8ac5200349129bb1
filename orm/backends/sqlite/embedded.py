"""Embedded replicas of SQLite (`orm.backends.EmbeddedReplicas`): files beside the database's."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import URL

from orm.backends.sqlite.files import file_at
from orm.backends.sqlite.replication import Replicator

__all__ = ["present", "replica", "url"]


def url(primary: URL, number: int) -> URL:
    """``app.replica-1.db`` beside ``app.db``.

    Raises:
        ConfigurationError: the primary is no file.
    """
    return primary.set(database=str(_file(primary, number)))


def present(primary: URL) -> Sequence[URL]:
    """The replicas that are there, numbered from 1 without a gap.

    Raises:
        ConfigurationError: the primary is no file.
    """
    found: list[URL] = []
    while _file(primary, len(found) + 1).exists():
        found.append(url(primary, len(found) + 1))
    return found


def replica(primary: URL, number: int, landed: Callable[[], None]) -> Replicator:
    """What keeps a replica up to date.

    Raises:
        ConfigurationError: the primary is no file.
    """
    return Replicator(file_at(primary), _file(primary, number), landed=landed)


def _file(primary: URL, number: int) -> Path:
    source = file_at(primary)
    return source.with_name(f"{source.stem}.replica-{number}{source.suffix}")
