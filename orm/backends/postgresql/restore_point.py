"""The position of a server's log before a migration, to which its backups can be recovered."""

from typing import Final

from sqlalchemy import Connection, text

__all__ = ["restore_point"]

# Sizes, and not rows: they can be asked without the right to read the table.
_HAS_DATA: Final = text("""\
SELECT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND c.relname <> ALL(:without) AND pg_relation_size(c.oid) > 0
)""")
_NOW: Final = text("""\
SELECT pg_current_wal_insert_lsn()::text, date_trunc('milliseconds', clock_timestamp())::text""")


def restore_point(connection: Connection, name: str, without: frozenset[str]) -> str | None:
    """The position of the log before a migration (`orm.backends.Migrations.restore_point`).

    A server goes back by a base backup and its log (PostgreSQL "Recovery Target Settings"); each
    row of the ledger has the position before its revision, too.
    """
    with connection.begin():
        if not connection.scalar(_HAS_DATA, {"without": sorted(without)}):
            return None
        lsn, at = connection.execute(_NOW).one()
    return (
        f"{lsn} at {at} (to go back: restore a base backup, with recovery_target_lsn = '{lsn}' and "
        "the log up to there)"
    )
