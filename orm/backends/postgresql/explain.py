"""What PostgreSQL knows of an error: the row, and who holds the lock that was not to be had."""

import re
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql.driver import sqlstate

__all__ = ["explain"]

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
WHERE a.pid <> pg_backend_pid() AND a.datname = current_database()
AND a.pid IN (SELECT l.pid FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.granted)
ORDER BY a.xact_start LIMIT :limit""")
"""By a lock that each transaction has: when others began theirs, not every account may see."""


def explain(connection: Connection, error: DBAPIError) -> list[str]:
    """What `orm.backends.Backend.explain` asks for: the row, and who held the lock."""
    said = []
    detail = getattr(error.orig, "detail", None)  # asyncpg's; psycopg's message has it
    if detail is not None:
        said.append(f"DETAIL: {detail}")
    if sqlstate(error) == _LOCK_NOT_AVAILABLE:
        said.append(_holders(connection, error.statement or ""))
    return said


def _holders(connection: Connection, statement: str) -> str:
    """Those that hold a lock on a table which a statement names, or else a transaction open.

    PostgreSQL itself can say who blocks a statement only while that waits (``pg_blocking_pids``),
    on another connection. Who has held a lock for so long mostly does so a moment later, too.
    """
    names = [word.lower() for word in re.findall(r"\w+", statement)]
    for question, what in (
        (_HOLDERS, "Who holds a lock there"),
        (_TRANSACTIONS, "Whose transactions are open"),
    ):
        found = connection.execute(question, {"names": names, "limit": _SHOWN}).all()
        if found:
            return f"{what}: {'; '.join(map(_sentence, found))}"
    return "Nobody holds a lock there any more: apply again."


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
    if row.state is not None:  # an account that may not see it
        yield f", {row.state}: {' '.join(row.query.split())[:_LONGEST]}"
