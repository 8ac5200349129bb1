"""What MariaDB and MySQL know of an error: the session that holds a lock."""

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orm.backends.mysql.driver import code
from orm.backends.mysql.state import DENIED

__all__ = ["explain"]

_LOCK_WAIT: Final = 1205
_SHOWN: Final = 5
_HOLDERS: Final = text(
    "SELECT DISTINCT t.processlist_id, t.processlist_user, t.processlist_time"
    " FROM performance_schema.metadata_locks l"
    " JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id"
    " WHERE l.object_schema = DATABASE() AND l.object_type = 'TABLE' AND l.lock_status = 'GRANTED'"
    " AND t.processlist_id <> CONNECTION_ID()"
)


def explain(connection: Connection, error: DBAPIError) -> list[str]:
    """The holders of locks (`orm.backends.Migrations.explain`), as far as the server tells."""
    if code(error) != _LOCK_WAIT:
        return []
    said = [
        "It waited for a transaction that uses the table, for lock_wait_timeout: all others would "
        "have waited behind it."
    ]
    try:
        rows = connection.execute(_HOLDERS).all()
    except DBAPIError as refused:
        if code(refused) not in DENIED:
            raise
        rows = []
    connection.rollback()
    said += [
        f"Connection {row.processlist_id} of {row.processlist_user} has a lock, and is idle or at "
        f"work for {row.processlist_time} s."
        for row in rows[:_SHOWN]
    ]
    return said
