"""Shown scripts, run as a program runs them that knows nothing of this library."""

import random
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from orm.backends.sqlite.schema import quoted
from tests.migrations.support import Project

__all__ = ["compare_with_apply", "run_in_one_transaction"]

_OURS = re.compile("orm_|alembic_|sqlite_(?!sequence)|d1_|_cf_")
_ROWS = 4


def compare_with_apply(project: Project, revisions: Sequence[str], seed: int = 0) -> None:
    """See that each revision's script leaves the rows and the schema that `apply` leaves.

    Both begin with the same rows in every table. Where `apply` is refused, so is the script.

    Args:
        project: whose revisions; nothing is applied yet.
        revisions: their ids.
        seed: of the rows.
    """
    scripted = project.folder / "scripted.db"
    for revision in revisions:
        shown = project.orm("show", revision, "--dialect", "sqlite")
        assert shown.exit_code == 0, shown.output
        _same_rows(project.database, scripted, seed)
        applied = project.orm("apply", "--local", "--to", revision)
        try:
            run_in_one_transaction(scripted, shown.stdout)
        except sqlite3.Error as error:
            assert applied.exit_code == 1, (error, shown.stdout)
            return
        assert applied.exit_code == 0, (applied.output, shown.stdout)
        assert _contents(scripted) == _contents(project.database), shown.stdout


def run_in_one_transaction(database: Path, script: str) -> None:
    """Run a script with foreign keys on; nothing of it stays if it fails."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(f"BEGIN;\n{script}\nCOMMIT;")


def _contents(database: Path) -> dict[str, Any]:
    """The definitions, but for white space and quotes, and the rows with their rowids."""
    with closing(sqlite3.connect(database)) as connection:
        found: dict[str, Any] = {}
        for kind, name, sql in _objects(connection):
            found[name] = re.sub(r'[\s"`]|\bASC\b', "", sql or "").lower()
            if kind == "table":
                # Copied rows keep their order; a rebuild of a table never kept rowids without a name.
                rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
                found[f"rows of {name}"] = sorted(rows, key=repr) if name == "sqlite_sequence" else rows
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return found


def _objects(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name")
    return [row for row in rows if not _OURS.match(row[1])]


def _same_rows(one: Path, other: Path, seed: int) -> None:
    """Add the same rows to all tables of two databases."""
    with closing(sqlite3.connect(one)) as first, closing(sqlite3.connect(other)) as second:
        first.execute("PRAGMA foreign_keys = ON")
        tables = [name for kind, name, _ in _objects(first) if kind == "table"]
        with first:
            first.execute("PRAGMA defer_foreign_keys = ON")
            _fill(first, [table for table in tables if table != "sqlite_sequence"], seed)
        for table in tables:
            named = [name for name, _ in _columns(first, table)]
            columns = ", ".join(map(quoted, named))
            rows = first.execute(f'SELECT {columns} FROM "{table}"').fetchall()
            second.execute(f'DELETE FROM "{table}"')
            marks = ", ".join("?" * len(named))
            triggers = second.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
            ).fetchall()
            for name, _ in triggers:
                second.execute(f'DROP TRIGGER "{name}"')
            second.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', rows)
            for _, sql in triggers:
                second.execute(sql)
        sequences = first.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
        if sequences.fetchone():
            counted = first.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
            second.execute("DELETE FROM sqlite_sequence")
            second.executemany("INSERT INTO sqlite_sequence VALUES (?, ?)", counted)
        second.commit()


def _fill(connection: sqlite3.Connection, tables: Sequence[str], seed: int) -> None:
    draw = random.Random(seed)
    for table in tables:
        columns = _columns(connection, table)
        names = ", ".join(quoted(name) for name, _ in columns)
        marks = ", ".join("?" * len(columns))
        for _ in range(_ROWS * 4):
            row = [_value(draw, kind) for _, kind in columns]
            with suppress(sqlite3.IntegrityError):
                connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', row)
    # Rows without their parent go, and those that referred to these.
    while broken := connection.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, *_ in broken:
            connection.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))


def _columns(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT name, upper(type) FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)
    ).fetchall()


def _value(draw: random.Random, kind: str) -> object:
    if draw.random() < 0.15:
        return None
    if "INT" in kind or "BOOL" in kind:
        return draw.randint(0, 9)
    if "CHAR" in kind or "TEXT" in kind:
        return draw.choice(["x", "it's", "?", "ä\n;", "7"])
    if "DATE" in kind or "TIME" in kind:
        return f"2024-01-0{draw.randint(1, 9)} 10:00:00.000000"
    return draw.randint(1, 9)
