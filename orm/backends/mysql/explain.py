"""What MariaDB and MySQL know of an error: who holds a lock, rows in the way, a missing setting."""

import re
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orm.backends.in_the_way import in_the_way
from orm.backends.mysql.driver import code
from orm.backends.mysql.state import DENIED
from orm.backends.mysql.tokens import LEXER

__all__ = ["explain"]

_LOCK_WAIT: Final = 1205
_NOT_TRUSTED: Final = 1419
"""An account without SUPER makes a trigger or a function, and the log is on."""
_ROWS: Final = frozenset({1048, 1062, 1138, 1264, 1265, 1292, 1366, 1406, 1411, 1452, 3819, 4025})
"""A row breaks a key, a reference or a CHECK, or has NULL or a value that does not fit."""
_SHOWN: Final = 5
_LABELS: Final = re.compile(r"ENUM\s*(\((?:'(?:[^']|'')*'\s*,?\s*)*\))", re.IGNORECASE)
_HOLDERS: Final = text(
    "SELECT DISTINCT t.processlist_id, t.processlist_user, t.processlist_time"
    " FROM performance_schema.metadata_locks l"
    " JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id"
    " WHERE l.object_schema = DATABASE() AND l.object_type = 'TABLE' AND l.lock_status = 'GRANTED'"
    " AND t.processlist_id <> CONNECTION_ID()"
)


def explain(connection: Connection, error: DBAPIError) -> list[str]:
    """The holders of locks, as far as the server tells, and what to do with rows that are in the
    way, or with a setting that is (`orm.backends.Migrations.explain`)."""
    statement = error.statement or ""
    if code(error) in _ROWS and statement.lstrip().upper().startswith(("ALTER ", "CREATE ")):
        advice = "Update or delete such rows in the same revision, before this statement"
        return [*in_the_way(connection, statement, LEXER, no_value=_no_value), advice]
    if code(error) == _NOT_TRUSTED:
        return [
            "An ordinary account makes triggers and functions only where "
            "log_bin_trust_function_creators is on. As an administrator, on every server, the "
            "replicas first: SET GLOBAL log_bin_trust_function_creators = ON, and the same in its "
            "configuration file"
        ]
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


def _no_value(column: str, type_: str) -> str | None:
    """The condition of a value that is none of the labels of an ENUM."""
    found = _LABELS.match(type_)
    return f"{column} NOT IN {found[1]}" if found else None
