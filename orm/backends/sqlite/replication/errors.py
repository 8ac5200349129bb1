"""The errors of replication."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from orm.exceptions import ReplicaUnavailable


class ReplicationError(ReplicaUnavailable):
    """A replica cannot be made or kept up to date; the message says what to do about it."""


class GivenUpError(Exception):
    """A pass ends here and leaves nothing behind: it was stopped, paused or overtaken by events.

    It never reaches a caller.
    """


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Say what failed, and what to look at, when the system or SQLite refuses something.

    Raises:
        ReplicationError: With the refusal as its cause.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise ReplicationError(
            f"{what}: {error}. Check that the files are databases, that the directory is there, "
            "writable and on a file system with symbolic links, and that the disk is not full"
        ) from error
