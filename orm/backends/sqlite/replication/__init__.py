"""Embedded replication: real replica files of an SQLite database, kept up to date.

It is synchronous and rests on the standard library alone: a thread and `sqlite3`.
"""

from orm.backends.sqlite.replication.errors import ReplicationError
from orm.backends.sqlite.replication.incarnations import incarnation
from orm.backends.sqlite.replication.replicator import Replicator

__all__ = ["ReplicationError", "Replicator", "incarnation"]
