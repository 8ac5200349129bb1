"""Everything this library raises of its own, in one tree.

::

    OrmError
    ├── ConfigurationError      what was asked for cannot work; says what to change
    ├── DatabaseClosed          a Database that is not started yet, or already closed
    ├── ReadOnlyError           a write in a read-only unit, or on a read-only server
    ├── ReplicaUnavailable      a replica answered at start, and could not be opened
    │   └── ReplicationError    an embedded one cannot be kept up to date (of `orm.backends.sqlite`)
    ├── NotCaughtUp             no server could serve the read; says who was how far behind
    ├── MigrationError          a migration that must not be applied, or failed
    └── BookmarkError
        ├── InvalidBookmark     not a bookmark of ours: garbage, too long, wrong signature
        ├── ForeignBookmark     well formed, but of another database's history
        └── WriteLost           of this history, but ahead of all that the primary has

Errors of the database itself stay SQLAlchemy's (``sqlalchemy.exc.DBAPIError`` and below).
"""

__all__ = [
    "BookmarkError",
    "ConfigurationError",
    "DatabaseClosed",
    "ForeignBookmark",
    "InvalidBookmark",
    "MigrationError",
    "NotCaughtUp",
    "OrmError",
    "ReadOnlyError",
    "ReplicaUnavailable",
    "WriteLost",
]


class OrmError(Exception):
    """The root of the tree: everything this library raises of its own."""


class ConfigurationError(OrmError):
    """What was asked for cannot work as described; the message says what to change."""


class DatabaseClosed(OrmError):
    """The `Database` is not started yet, or already closed."""


class ReadOnlyError(OrmError):
    """A write in a read-only unit, or a statement marked as a read that wrote."""


class ReplicaUnavailable(OrmError):
    """A replica answered when the `Database` started, and could not be opened."""


class NotCaughtUp(OrmError):
    """No server could serve a read at its bookmark; the message names each replica's state."""


class MigrationError(OrmError):
    """A migration that must not be applied, or failed; the message names the file, and says why."""


class BookmarkError(OrmError):
    """A bookmark that a session cannot start from."""


class InvalidBookmark(BookmarkError, ValueError):
    """Not a bookmark of ours: garbage, over-long, altered, or signed with another key."""


class ForeignBookmark(BookmarkError):
    """A well-formed bookmark of another database's history."""


class WriteLost(BookmarkError):
    """A bookmark of this history that names writes which the primary does not have."""
