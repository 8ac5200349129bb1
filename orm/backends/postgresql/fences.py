"""The primary is not always the newest: a commit is in the log, and so on a standby, before its
transaction has ended on the primary; and long before that, if it waits for a synchronous standby.

A snapshot of a standby does not list the transactions under way there: by it alone, a long
transaction of another session looks like a commit that has been seen. So the standby is asked about
the transactions that the primary does not show; as a rule there are none.
"""

from typing import Final

from sqlalchemy import Connection, text

from orm.backends.postgresql.position import may_not_see

__all__ = ["ending", "hidden", "shown"]

# A snapshot does not list what runs beyond its end; `pg_stat_activity` and `pg_prepared_xacts` do,
# by the low 32 bits of a number. Who may not read the former is told by a row without one.
_HIDDEN: Final = """\
SELECT running FROM (
    SELECT listed::text::bigint AS running FROM pg_snapshot_xip(pg_current_snapshot()) AS listed
    UNION
    SELECT ends + (low - ends % (1::bigint << 32) + (3::bigint << 31)) % (1::bigint << 32)
        - (1::bigint << 31)
    FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ends) AS snapshot, (
        SELECT backend_xid::text::bigint AS low FROM pg_stat_activity
        UNION SELECT transaction::text::bigint FROM pg_prepared_xacts
    ) AS others
) AS every
WHERE running < :shown
UNION ALL SELECT NULL WHERE NOT pg_has_role('pg_read_all_stats', 'USAGE')"""

_SHOWN: Final = """\
SELECT asked FROM unnest(CAST(:hidden AS bigint[])) AS asked
WHERE CASE WHEN asked < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    THEN pg_xact_status(CAST(asked::text AS xid8)) = 'committed' END"""

# A prepared transaction is committed by a backend that has no number of its own.
_ENDING: Final = """\
SELECT asked FROM unnest(CAST(:hidden AS bigint[])) AS asked
WHERE EXISTS (
    SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND (backend_xid IS NULL
        OR backend_xid::text::bigint = asked % (1::bigint << 32))
)"""


def hidden(connection: Connection, shown: int) -> frozenset[int]:
    """The transactions below a number that have not ended on the primary.

    Raises:
        ConfigurationError: the account lacks the privilege to see them.
    """
    found = frozenset(connection.scalars(text(_HIDDEN), {"shown": shown}))
    if None in found:
        raise may_not_see("what runs on the primary", connection)
    return found


def shown(connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
    """The transactions that a standby shows as committed."""
    return frozenset(connection.scalars(text(_SHOWN), {"hidden": sorted(hidden)}))


def ending(connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
    """The transactions whose commit waits for a synchronous standby."""
    return frozenset(connection.scalars(text(_ENDING), {"hidden": sorted(hidden)}))
