"""Reading a table without SQLAlchemy, whose import takes longer than most of what is asked.

Only for engines whose driver comes with Python; and only for a look, which may as well fail and be
taken again through the backend.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

__all__ = ["Tables", "read"]

Tables = dict[str, list[dict[str, Any]]]

_SQLITE: Final = "sqlite+aiosqlite:///"


def read(url: str, tables: Sequence[str]) -> Tables | None:
    """The rows of some tables, in one snapshot.

    Args:
        url: of the database, as it is written in a configuration.
        tables: their names; one that is not there has no rows.

    Returns:
        The rows by table; None if it takes the backend to read them.
    """
    name = url.removeprefix(_SQLITE)
    if name == url or "?" in name or "%" in name or not Path(name).is_file():
        return None
    file = f"file:{quote(str(Path(name).absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(file, uri=True, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            there = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master")}
            return {
                table: [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
                if table in there
                else []
                for table in tables
            }
    except sqlite3.Error:  # the backend will say why
        return None
