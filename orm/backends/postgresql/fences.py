"""The primary is not always the newest: a commit is in the log, and so on a standby, before its
transaction has ended on the primary; and long before that, if it waits for a synchronous standby.

A snapshot that is taken on a standby does not list what is under way there: by it alone, somebody's
long transaction could not be told from a commit that has been seen. So the standby is asked about
those transactions that the primary does not show, which are none as a rule.
"""

from typing import Final

from sqlalchemy import Connection, text

from orm.backends.postgresql.position import SHOWN

__all__ = ["fence", "hidden", "shown"]

# What is after the last transaction that has ended is not listed as running, but may be.
_HIDDEN: Final = """\
SELECT running FROM (
    SELECT pg_current_snapshot() AS snapshot,
        pg_snapshot_xmax(CAST(CAST(:seen AS text) AS pg_snapshot))::text::bigint AS below
) AS now, LATERAL (
    SELECT listed::text::bigint FROM pg_snapshot_xip(snapshot) AS listed
    UNION ALL SELECT generate_series(pg_snapshot_xmax(snapshot)::text::bigint, below - 1)
) AS every (running)
WHERE running < below"""

_SHOWN: Final = """\
SELECT asked FROM unnest(CAST(:hidden AS bigint[])) AS asked
WHERE pg_xact_status(CAST(asked::text AS xid8)) = 'committed'"""


def fence(connection: Connection) -> str | None:
    """The transactions that a standby has shown, as of the last `seen` there."""
    snapshot: str | None = connection.info.get(SHOWN)
    return snapshot


def hidden(connection: Connection, fence: str) -> frozenset[int]:
    """Those before the fence's end that have not ended on the primary."""
    return frozenset(connection.scalars(text(_HIDDEN), {"seen": fence}))


def shown(connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
    """Those that a standby shows as committed."""
    return frozenset(connection.scalars(text(_SHOWN), {"hidden": sorted(hidden)}))
