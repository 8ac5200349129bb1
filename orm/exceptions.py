"""All errors that this library raises itself, in one tree.

::

                                retryable
    OrmError
    ├── ConfigurationError      no   a setting or call cannot work; the message says what to change
    ├── DatabaseClosed          no   the Database is not started yet, or is closed
    ├── ReadOnlyError           no   a write in a read-only transaction, or on a read-only server
    ├── ReplicaUnavailable      no   a replica answered at start, and could not be opened
    │   └── ReplicationError    no   an embedded one cannot be kept (of `orm.backends.sqlite`)
    ├── NotCaughtUp             yes  no server can serve the read now; says how far behind each is
    │   ├── NoPrimary           yes  no server that answers is the primary
    │   ├── PrimaryChanged      yes  another server has become the primary meanwhile
    │   └── PrimaryBehind       yes  the primary does not show yet what a replica has shown
    ├── MigrationError          no   a migration that must not be applied, or failed
    └── BookmarkError           no
        ├── InvalidBookmark     no   no bookmark of this library: garbage, too long, wrongly signed
        ├── ForeignBookmark     no   well formed, but of another database's history
        └── WriteLost           no   of this history, but ahead of all that the primary has

`OrmError.retryable` says whether the same transaction, tried again from its beginning, may succeed
a moment later. Nothing of a transaction that failed with a retryable error was committed.

Errors of the database itself stay SQLAlchemy's (``sqlalchemy.exc.DBAPIError`` and below).
"""

from typing import ClassVar

__all__ = [
    "BookmarkError",
    "ConfigurationError",
    "DatabaseClosed",
    "ForeignBookmark",
    "InvalidBookmark",
    "MigrationError",
    "NoPrimary",
    "NotCaughtUp",
    "OrmError",
    "PrimaryBehind",
    "PrimaryChanged",
    "ReadOnlyError",
    "ReplicaUnavailable",
    "WriteLost",
]


class OrmError(Exception):
    """The root of the tree: the base of all errors that this library raises itself."""

    retryable: ClassVar[bool] = False
    """Whether the same transaction, tried again from its beginning, may succeed a moment later."""


class ConfigurationError(OrmError):
    """A setting or call cannot work as it was given; the message says what to change."""


class DatabaseClosed(OrmError):
    """The `Database` is not started yet, or already closed."""


class ReadOnlyError(OrmError):
    """A write in a read-only transaction, or a statement marked as a read that wrote."""


class ReplicaUnavailable(OrmError):
    """A replica answered when the `Database` started, and could not be opened."""


class NotCaughtUp(OrmError):
    """No server can serve a read at its bookmark now; the message says how far behind each is."""

    retryable = True


class NoPrimary(NotCaughtUp):
    """No server that answers is the primary, and no replica can serve instead."""


class PrimaryChanged(NotCaughtUp):
    """Another server has become the primary since the transaction began: nothing was committed."""


class PrimaryBehind(NotCaughtUp):
    """The primary does not show yet what the session has seen on a replica.

    As a rule the primary waits for a synchronous replica.
    """


class MigrationError(OrmError):
    """A migration that must not be applied, or failed; the message names the file, and says why."""


class BookmarkError(OrmError):
    """A bookmark that a session cannot start from."""


class InvalidBookmark(BookmarkError, ValueError):
    """Not a bookmark of this library: garbage, too long, altered, or signed with another key."""


class ForeignBookmark(BookmarkError):
    """A well-formed bookmark of another database's history."""


class WriteLost(BookmarkError):
    """A bookmark of this history that names writes which the primary does not have."""
