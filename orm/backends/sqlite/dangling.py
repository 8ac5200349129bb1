"""Foreign keys of SQLite that lead nowhere: it does not look for them while they are off."""

from collections import Counter
from itertools import islice

from sqlalchemy import Connection, text

from orm.backends.sqlite.driver import in_one_hop

__all__ = ["dangling", "summary"]

_SHOWN = 5


def dangling(connection: Connection) -> Counter[str]:
    """All rows without their parent row: ``posts.user_id of row 1 -> users``.

    The rows of a table WITHOUT ROWID have no number, and are counted.
    """
    found: Counter[str] = Counter()
    columns: dict[tuple[str, int], str] = {}
    for table, row, parent, number in in_one_hop(connection, "PRAGMA foreign_key_check"):
        key = (table, number)
        if key not in columns:
            columns[key] = ", ".join(
                connection.execute(
                    text(
                        'SELECT "from" FROM pragma_foreign_key_list(:table)'
                        " WHERE id = :number ORDER BY seq"
                    ),
                    {"table": table, "number": number},
                ).scalars()
            )
        where = f"{table}.{columns[key]}" + ("" if row is None else f" of row {row}")
        found[f"{where} -> {parent}"] += 1
    return found


def summary(found: Counter[str]) -> str:
    """The first few, for a message."""
    parts = [
        what if count == 1 else f"{what} ({count} rows)"
        for what, count in islice(found.items(), _SHOWN)
    ]
    return ", ".join(parts) + (", …" if len(found) > _SHOWN else "")
