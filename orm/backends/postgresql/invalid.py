"""Indexes that a CREATE INDEX CONCURRENTLY has left unfinished, and the way out."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text

__all__ = ["INVALID", "way_out"]

INVALID: Final = text("""\
SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relpersistence <> 't'
AND NOT EXISTS (
    SELECT FROM pg_stat_progress_create_index p
    WHERE p.index_relid = i.indexrelid AND p.pid <> pg_backend_pid()
)
ORDER BY 1""")
"""Indexes that are kept up to date and never used; one that another session builds is none yet.

Each row has the index and its table, as SQL names them.
"""


def way_out(found: Sequence[tuple[str, str]]) -> str:
    """What to do about such indexes.

    Args:
        found: each index with its table; not none.
    """
    what = ", ".join(f"{index} of {table}" for index, table in found)
    drop = "; ".join(f"DROP INDEX CONCURRENTLY {index}" for index, _ in found)
    index, table = found[0]
    return (
        f"There is an index that is INVALID, kept up to date and never used: {what}. Before you "
        f"apply again, drop it on the database ({drop}), or first in the autocommit_block of the "
        f'revision: op.drop_index("{index}", "{table}", if_exists=True, '
        "postgresql_concurrently=True)"
    )
