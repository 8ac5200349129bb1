"""Who holds the lock that a statement did not get."""

import re
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

__all__ = ["blockers"]

_LOCK_NOT_AVAILABLE: Final = "55P03"
_SHOWN: Final = 5
_LONGEST: Final = 200
"""Characters of a statement that are shown."""

_ACTIVITY: Final = """\
a.pid, a.usename, a.application_name, a.state, a.query,
date_trunc('second', clock_timestamp() - a.xact_start)::text AS age"""
_HOLDERS: Final = text(f"""\
SELECT {_ACTIVITY}, c.relname, string_agg(DISTINCT l.mode, ', ') AS modes
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.locktype = 'relation' AND l.pid <> pg_backend_pid()
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND lower(c.relname) = ANY(:names)
GROUP BY a.pid, a.usename, a.application_name, a.state, a.query, a.xact_start, c.relname
ORDER BY a.xact_start LIMIT :limit""")
_TRANSACTIONS: Final = text(f"""\
SELECT {_ACTIVITY}, NULL AS relname, NULL AS modes
FROM pg_stat_activity a
WHERE a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid() AND a.datname = current_database()
ORDER BY a.xact_start LIMIT :limit""")


def blockers(connection: Connection, error: DBAPIError) -> str | None:
    """What `orm.backends.Backend.blockers` asks for.

    PostgreSQL can say who blocks a statement only while that waits (``pg_blocking_pids``), on
    another connection. Who has held a lock for so long mostly does so a moment later, too: those
    that hold one on a table which the statement names, or else whose transaction is open.
    """
    if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
        return None
    names = [word.lower() for word in re.findall(r"\w+", error.statement or "")]
    found = connection.execute(_HOLDERS, {"names": names, "limit": _SHOWN}).all()
    if not found:
        found = connection.execute(_TRANSACTIONS, {"limit": _SHOWN}).all()
    return "; ".join(_sentence(row) for row in found) or "nobody any more: apply again"


def _sentence(row: Row[Any]) -> str:
    return "".join(_parts(row))


def _parts(row: Row[Any]) -> Iterator[str]:
    yield f"process {row.pid} of {row.usename}"
    if row.application_name:
        yield f" ({row.application_name})"
    if row.relname is not None:
        yield f" holds {row.modes} on {row.relname}"
    if row.age is not None:
        yield f", in a transaction for {row.age}"
    if row.query:
        yield f", {row.state}: {' '.join(row.query.split())[:_LONGEST]}"
