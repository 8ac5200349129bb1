"""Shown scripts, run as a program runs them that knows nothing of this library."""

import random
import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.schema import quoted
from tests.migrations.support import Project

__all__ = ["compare_with_apply", "contents", "run_in_one_transaction", "same_rows", "try_out"]

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
        same = _is_same(project, scripted, revision, seed)
        project.shown.clear()  # this was its trial
        if not same:
            return


def try_out(project: Project) -> None:
    """See the same of each revision that a test has shown, in a database of its own."""
    for revision in dict.fromkeys(project.shown):
        for file in project.folder.glob("*.db*"):
            file.unlink()
        before = int(revision) - 1
        if before:
            done = project.orm("apply", "--local", "--to", f"{before:04d}")
            assert done.exit_code == 0, done.output
            shutil.copy(project.database, project.folder / "scripted.db")
        _is_same(project, project.folder / "scripted.db", revision, seed=0)


def _is_same(project: Project, scripted: Path, revision: str, seed: int) -> bool:
    """Do one revision in both ways; False if both were refused."""
    shown = project.orm("show", revision, "--dialect", "sqlite")
    if shown.exit_code == 1 and "would act on rows that it changes" in shown.stderr:
        return False
    assert shown.exit_code == 0, shown.output
    same_rows(project.database, scripted, seed)
    applied = project.orm("apply", "--local", "--to", revision)
    failure: sqlite3.Error | None = None
    try:
        run_in_one_transaction(scripted, shown.stdout)
    except sqlite3.Error as error:
        failure = error
    assert applied.exit_code == (failure is not None), (failure, applied.output, shown.stdout)
    if failure is not None:
        return False
    wanted, found = contents(project.database), contents(scripted)
    differs = {key: (wanted.get(key), found.get(key)) for key in wanted | found}
    differs = {key: pair for key, pair in differs.items() if pair[0] != pair[1]}
    assert not differs, (differs, shown.stdout)
    return True


def run_in_one_transaction(database: Path, script: str) -> None:
    """Run a script with foreign keys on; nothing of it stays if it fails."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(f"BEGIN;\n{script}\nCOMMIT;")


def contents(database: Path) -> dict[str, Any]:
    """The definitions, and the rows of each table in their order."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        found: dict[str, Any] = {
            str(thing): said
            for thing, said in definitions(connection).items()
            if not _OURS.match(thing.table)
        }
    engine.dispose()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in _tables(connection):
            rows = connection.execute(f"SELECT * FROM {quoted(table)}").fetchall()
            if table == "sqlite_sequence":  # a table that has given no id may be there or not
                rows = sorted(row for row in rows if row[1] and not _OURS.match(row[0]))
            found[f"rows of {table}"] = rows
    return found


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if not _OURS.match(name)]


def same_rows(one: Path, other: Path, seed: int) -> None:
    """Add the same rows to all tables of two databases."""
    with closing(sqlite3.connect(one)) as first, closing(sqlite3.connect(other)) as second:
        first.execute("PRAGMA foreign_keys = ON")
        tables = _tables(first)
        with first:
            first.execute("PRAGMA defer_foreign_keys = ON")
            _fill(first, [table for table in tables if table != "sqlite_sequence"], seed)
        triggers = second.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = triggers.fetchall()
        for name, _ in triggers:
            second.execute(f"DROP TRIGGER {quoted(name)}")
        for table in tables:
            columns = ", ".join(quoted(name) for name, _ in _columns(first, table))
            rows = first.execute(f"SELECT {columns} FROM {quoted(table)}").fetchall()
            second.execute(f"DELETE FROM {quoted(table)}")
            marks = ", ".join("?" * len(_columns(first, table)))
            second.executemany(f"INSERT INTO {quoted(table)} ({columns}) VALUES ({marks})", rows)
        for _, sql in triggers:
            second.execute(sql)
        sequences = first.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
        if sequences.fetchone():
            counted = first.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
            second.execute("DELETE FROM sqlite_sequence WHERE name NOT LIKE 'd1%'")
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
                connection.execute(f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})", row)
    # Rows without their parent go, and those that referred to these.
    while broken := connection.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, *_ in broken:
            connection.execute(f"DELETE FROM {quoted(table)} WHERE rowid = ?", (rowid,))


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
