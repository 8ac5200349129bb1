"""The primary is not always the newest: a commit is in the log, and so on a standby, before its
transaction has ended on the primary; and long before that, if it waits for a synchronous standby.
"""

from typing import Final

from sqlalchemy import Connection, text

from orm.backends.postgresql.position import SHOWN

__all__ = ["fence", "passes"]

# What the standby takes for ended must have ended on the primary. What it takes to be running, such
# as somebody's long transaction, need not be waited for.
_PASSES: Final = """\
SELECT pg_snapshot_xmax(now.snapshot) >= pg_snapshot_xmax(seen.snapshot) AND NOT EXISTS (
    SELECT FROM pg_snapshot_xip(now.snapshot) AS running
    WHERE pg_visible_in_snapshot(running, seen.snapshot))
FROM (SELECT pg_current_snapshot() AS snapshot) AS now,
    (SELECT CAST(:seen AS text)::pg_snapshot AS snapshot) AS seen"""


def fence(connection: Connection) -> str | None:
    """The transactions that a standby has shown, as of the last `seen` there."""
    shown: str | None = connection.info.get(SHOWN)
    return shown


def passes(connection: Connection, fence: str) -> bool:
    """Whether the primary shows all of them."""
    return bool(connection.scalar(text(_PASSES), {"seen": fence}))
