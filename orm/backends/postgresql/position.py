"""Positions in the write-ahead log: what a server shows for certain, and what it may have shown.

A history is a cluster (its system identifier), and each timeline is a domain of it: a server on
timeline 2 that was left at F has all of timeline 1 up to F, and nothing after it. So a bookmark
from before a failover goes on being comparable, and one that names what was lost is told from one
that a server is merely behind.
"""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from orm.backends.lineage import at_least
from orm.backends.postgresql import forks
from orm.backends.postgresql.driver import fetch
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError

__all__ = [
    "COMMITTED",
    "STANDBY",
    "UNSURE",
    "VERSION",
    "caveat",
    "committed",
    "identify",
    "incarnation",
    "may_not_see",
    "position",
    "reached",
    "replayed",
    "seen",
    "written",
]

_AGE: Final = "orm.postgresql.age"
_HISTORY: Final = "orm.postgresql.history"
_INCARNATION: Final = "orm.postgresql.incarnation"
_LOADED: Final = "orm.postgresql.loaded"
_REACHED: Final = "orm.postgresql.reached"
_SEGMENT: Final = "orm.postgresql.segment"
STANDBY: Final = "orm.postgresql.standby"
_TIMELINE: Final = "orm.postgresql.timeline"
UNSURE: Final = "orm.postgresql.unsure"
"""Set where a transaction may have chosen how it is committed, or been more than one."""
VERSION: Final = "orm.postgresql.version"
"""Of the server, as a number: 190000. Unknown where several share a connection."""

# A server whose process crashes starts again by itself, perhaps in its own past, and says that it
# started when it first did. Its statistics are then new (PostgreSQL "The Cumulative Statistics
# System"). If an administrator resets them, a server that is the same counts as another one.
_STARTED: Final = """\
concat_ws('-', extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()))"""

_WHO: Final = f"SELECT concat_ws('-', system_identifier, {_STARTED}) FROM pg_control_system()"

_IDENTITY: Final = f"""\
SELECT system_identifier::text, {_STARTED},
    pg_conf_load_time()::text,
    pg_size_bytes(current_setting('wal_segment_size')),
    current_setting('server_version_num')::integer
FROM pg_control_system()"""

# Its position comes first, and its timeline after it: a standby that moves to the next timeline
# between the two is then taken to be behind rather than ahead.
_POSITION: Final = f"""\
SELECT
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
        - '0/0')::bigint AS at,
    pg_is_in_recovery() AS standby,
    CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
    END AS timeline,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receives,
    greatest(c.timeline_id, r.min_recovery_end_timeline) AS replayed,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age,
    s.system_identifier::text AS history,
    {_STARTED} AS started
FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r, pg_control_system() AS s"""

# While a standby applies a commit that is long, for up to a second, it shows it before the position
# of its replay says so. It stands between two records, and applies none, while it waits for one, or
# before one. Else, if more was received than replayed, the record that follows may have been seen,
# and any place within it stands for all of it. Else the position is unknown: a standby
# that has restarted replays what it had received before, and does not say how much that is.
_SEEN: Final = f"""\
SELECT
    (CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()
        WHEN EXISTS (
            SELECT FROM pg_stat_get_activity(NULL)
            WHERE wait_event IN ('RecoveryApplyDelay', 'RecoveryPause',
                'RecoveryRetrieveRetryInterval', 'RecoveryWalStream')
        ) THEN pg_last_wal_replay_lsn()
        WHEN log.received > log.replayed THEN log.replayed + 1 END
        - '0/0')::bigint AS at,
    CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver)
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
    END AS timeline,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS receives,
    greatest(c.timeline_id, r.min_recovery_end_timeline) AS replayed,
    CASE WHEN pg_is_in_recovery() OR current_setting('server_version_num')::integer < 170000
        THEN NULL ELSE (pg_current_wal_flush_lsn() - '0/0')::bigint END AS flushed,
    CASE WHEN pg_is_in_recovery()
        THEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint ELSE 0 END AS shown,
    CASE WHEN pg_is_in_recovery() THEN (log.replayed - '0/0')::bigint END AS shows,
    pg_size_bytes(current_setting('wal_segment_size')) AS segment,
    s.system_identifier::text AS history,
    {_STARTED} AS started
FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r, pg_control_system() AS s,
    (SELECT pg_last_wal_replay_lsn() AS replayed, pg_last_wal_receive_lsn() AS received) AS log"""

_SEGMENT_SIZE: Final = "SELECT pg_size_bytes(current_setting('wal_segment_size'))"

_LAST: Final = "SELECT pg_current_xact_id()::text::bigint"

_FLUSH: Final = "SELECT pg_logical_emit_message(false, 'orm', '', true)"

# A synchronous commit is flushed by now. One that was not, or of which that is not known, is
# certain to lie before the insert position. To plan anything cleverer takes longer than to ask.
COMMITTED: Final = """\
SELECT pg_current_wal_flush_lsn()::text, pg_current_wal_insert_lsn()::text,
    current_setting('synchronous_commit'), pg_conf_load_time()::text,
    pg_walfile_name(pg_current_wal_insert_lsn())
WHERE NOT pg_is_in_recovery()"""
"""No row on a standby, where only a transaction that has read can be committed."""


def identify(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    """Learn which server, since which start, a new connection leads to."""
    info = record.info
    system, started, info[_LOADED], info[_SEGMENT], info[VERSION] = fetch(connection, _IDENTITY)
    _note_identity(info, system, started)


def incarnation(connection: Connection) -> str:
    """Which server, since which start, the connection leads to, or has last led to if shared."""
    return str(connection.info[_INCARNATION])


def position(connection: Connection) -> Bookmark | None:
    """Everything up to here is visible to any later statement; None where that is unknown."""
    row = connection.exec_driver_sql(_POSITION).one()
    _note_identity(connection.info, row.history, row.started)
    connection.info[_AGE], connection.info[STANDBY] = row.age, row.standby
    timeline = _timeline(connection, row)
    if row.at is None:
        return None
    this = incarnation(connection)
    left = forks.forks_of(connection, timeline, this, _WHO)
    if row.standby and row.timeline is not None:
        forks.note(this, timeline, row.at)
    known = {old: fork for old, fork in left.at.items() if fork <= row.at}
    unreached = sorted(set(left.at) - set(known))
    at = unreached[0] if unreached else timeline
    found = _bookmark(connection, known | {at: row.at})
    return found if left.exact else at_least(found, map(str, known))


def seen(connection: Connection) -> Bookmark | None:
    """Nothing that was read here lies after this; None where that is unknown."""
    row = connection.exec_driver_sql(_SEEN).one()
    _note_identity(connection.info, row.history, row.started)
    timeline = _timeline(connection, row)
    connection.info[_REACHED] = None if row.shows is None else {timeline: row.shows}
    if row.at is None:
        return None
    at = _end_of_record(row.at, row.segment)
    if row.flushed is not None and row.flushed < at:
        # What is inserted and not flushed, by a read's hint bits perhaps, may wait for long until
        # a session commits, and so would a session that must see it on a standby.
        connection.exec_driver_sql(_FLUSH)
    return _bookmark(connection, {timeline: at}, row.shown)


def reached(connection: Connection) -> Bookmark | None:
    """What a standby had replayed when `seen` was last asked, on its latest timeline."""
    at = connection.info.get(_REACHED)
    return None if at is None else _bookmark(connection, at)


def written(connection: Connection) -> Bookmark | None:
    """On the primary: nothing that any server has shown lies after this."""
    # A number of its own is later than all that were given out, and writes nothing.
    last: int = connection.exec_driver_sql(_LAST).scalar_one()
    at = seen(connection)
    return None if at is None else replace(at, shown=last)


def committed(connection: Connection, *, wrote: bool) -> Bookmark | None:
    """The position of the commit that has just succeeded; None on a standby.

    Args:
        connection: which has committed, and has begun nothing since.
        wrote: whether the transaction is certain to have written. One that only read has flushed
            nothing, and may have seen what others had not flushed.
    """
    pooled, info = connection.connection, connection.info
    dbapi: Any = pooled.dbapi_connection
    take = getattr(pooled.driver_connection, "take_sample", None)  # of psycopg's alone
    row = (take and take()) or fetch(dbapi, COMMITTED)
    if row is None:
        return None
    flushed, inserted, mode, loaded, file = row
    # Settings that were loaded since the last time may not be those that the commit was made with.
    same, info[_LOADED] = info.get(_LOADED) == loaded, loaded
    certain = wrote and mode != "off" and not info.pop(UNSURE, False) and same
    if _SEGMENT not in info:  # a connection of another engine, as in a migration
        [info[_SEGMENT]] = fetch(dbapi, _SEGMENT_SIZE)
    at = _parsed(flushed) if certain else _end_of_record(_parsed(inserted), info[_SEGMENT])
    return Bookmark(info[_HISTORY], ((str(int(file[:8], 16)), at),))


def replayed(connection: Connection) -> float | None:
    """Seconds since the latest commit that a standby has replayed, when `position` was asked."""
    age: float | None = connection.info.get(_AGE)
    return age


def may_not_see(what: str, connection: Connection) -> ConfigurationError:
    """The error for an account that lacks a privilege."""
    account = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    return ConfigurationError(
        f"the account may not see {what}: GRANT pg_read_all_stats TO {account}"
    )


def caveat(connection: Connection) -> str | None:
    """What this account will not be told after a failover (`orm.backends.Backend.caveat`)."""
    # Asked, since a connection to a pooler has not told it yet.
    this = str(connection.exec_driver_sql(_WHO).scalar_one())
    return forks.caveat(connection, this, _WHO)


# -------------------------------------------------------------------------------------------------


def _note_identity(info: dict[Any, Any], system: str, started: str) -> None:
    incarnation = f"{system}-{started}"
    if info.get(_INCARNATION) != incarnation:
        info[_HISTORY], info[_INCARNATION] = system, incarnation
        for known in (_TIMELINE, _REACHED):  # were those of another server
            info.pop(known, None)


def _timeline(connection: Connection, row: Any) -> int:
    if row.timeline is not None:
        connection.info[_TIMELINE] = row.timeline
        return int(row.timeline)
    if row.receives:
        raise may_not_see("which timeline a standby is on", connection)
    # Nothing is received at present, so nothing has changed since the last time; nor since the
    # standby last wrote down what it has replayed.
    known: int = connection.info.get(_TIMELINE, 0)
    return max(int(row.replayed), known)


def _bookmark(connection: Connection, at: dict[int, int], shown: int = 0) -> Bookmark:
    pairs = sorted((str(timeline), lsn) for timeline, lsn in at.items())
    return Bookmark(connection.info[_HISTORY], tuple(pairs), shown)


def _end_of_record(inserted: int, segment: int) -> int:
    """The place where the last record ends, by the insert position and the size of segments.

    That counts the header of the next page as soon as a record ends at a page's end (24 bytes; 40
    at a segment's start), which no server reaches while the primary is idle.
    """
    if inserted % segment == 40:
        return inserted - 40
    return inserted - 24 if inserted % 8192 == 24 else inserted


def _parsed(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
