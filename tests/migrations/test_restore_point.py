"""Before a migration touches data, there is a copy to go back to."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.migrations.support import Project

TABLE = "op.create_table('t{0}', sa.Column('id', sa.Integer, primary_key=True))"


@pytest.fixture
def filled(project: Project) -> Project:
    """One revision applied, and a row."""
    project.revision(1, TABLE.format(1))
    assert "Restore point" not in project.alembic("upgrade", "head")
    project.query("INSERT INTO t1 VALUES (7)")
    return project


def copies(project: Project) -> list[str]:
    return sorted(file.name for file in project.folder.glob("app.before-*"))


def test_it_is_what_was_there_before(filled: Project) -> None:
    filled.revision(2, "op.execute('DELETE FROM t1')", TABLE.format(2))
    said = filled.alembic("upgrade", "head")
    copy = filled.folder / "app.before-0002.db"
    assert f"Restore point: {copy} (to go back: " in said
    assert "move this file to app.db; the last 3 restore points stay)" in said
    assert copies(filled) == [copy.name]  # no -wal, nothing unfinished
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id FROM t1").fetchall() == [(7,)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("0001",)
        ]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]


@pytest.mark.parametrize("restore", [shutil.move, shutil.copyfile])
def test_going_back_as_it_says_begins_a_new_history(filled: Project, restore: object) -> None:
    filled.revision(2, "op.execute('DELETE FROM t1')")
    filled.alembic("upgrade", "head")
    history = filled.query("SELECT history FROM orm_position")
    for ending in ("-wal", "-shm"):
        Path(f"{filled.database}{ending}").unlink(missing_ok=True)
    assert callable(restore)
    restore(filled.folder / "app.before-0002.db", filled.database)
    assert filled.query("SELECT id FROM t1") == [(7,)]
    assert filled.applied == ["0001"]
    filled.alembic("upgrade", "head")
    assert filled.query("SELECT history FROM orm_position") != history


def test_none_without_data_or_without_anything_to_apply(filled: Project) -> None:
    filled.alembic("upgrade", "head")
    filled.query("DELETE FROM t1")
    filled.revision(2, TABLE.format(2))
    filled.alembic("upgrade", "head")
    for command in (["current"], ["heads"], ["history"]):
        filled.query("INSERT INTO t1 DEFAULT VALUES")
        filled.alembic(*command)
    assert copies(filled) == []


def test_the_last_three_stay(filled: Project) -> None:
    for number in range(2, 7):
        filled.revision(number, TABLE.format(number))
        filled.alembic("upgrade", "head")
    assert copies(filled) == [f"app.before-000{number}.db" for number in (4, 5, 6)]


def test_the_last_three_stay_whatever_the_clock_says(filled: Project) -> None:
    """Two may be of one tick, and the clock may have gone back."""
    for number in range(2, 6):
        filled.revision(number, TABLE.format(number))
        filled.alembic("upgrade", "head")
        if number == 2:
            os.utime(filled.folder / "app.before-0002.db", ns=(2**62, 2**62))
    assert copies(filled) == [f"app.before-000{number}.db" for number in (3, 4, 5)]


def test_a_second_try_replaces_the_first_ones(filled: Project) -> None:
    filled.revision(2, "op.execute('?')")
    for row in (8, 9):
        filled.query("INSERT INTO t1 VALUES (?)", row)
        with pytest.raises(Exception, match="syntax error"):
            filled.alembic("upgrade", "head")
    assert copies(filled) == ["app.before-0002.db"]
    with closing(sqlite3.connect(filled.folder / "app.before-0002.db")) as connection:
        assert connection.execute("SELECT id FROM t1").fetchall() == [(7,), (8,), (9,)]


def test_no_other_account_may_read_it(filled: Project) -> None:
    filled.database.chmod(0o600)
    filled.revision(2, TABLE.format(2))
    filled.alembic("upgrade", "head")
    assert (filled.folder / "app.before-0002.db").stat().st_mode & 0o777 == 0o600


def test_one_state_while_others_write(filled: Project) -> None:
    """Each transaction of the writer adds one row to both tables."""
    filled.query("CREATE TABLE twin (id INTEGER PRIMARY KEY)")
    for table in ("t1", "twin"):  # many rows, so that a copy takes longer than a write
        filled.query(
            f"WITH n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
            f" INSERT INTO {table} SELECT i FROM n"
        )
    filled.query("INSERT INTO twin VALUES (7)")
    filled.revision(2, TABLE.format(2))
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(filled.database, timeout=30)) as connection:
            while not done.is_set():
                began = time.monotonic()
                with connection:
                    connection.execute("INSERT INTO t1 DEFAULT VALUES")
                    connection.execute("INSERT INTO twin DEFAULT VALUES")
                writing.set()
                # Others can have the lock for as long, however slow the disk is.
                done.wait(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert writing.wait(60)
        filled.alembic("upgrade", "head")
    finally:
        done.set()
        writer.join()
    with closing(sqlite3.connect(filled.folder / "app.before-0002.db")) as connection:
        [(ones, twins)] = connection.execute(
            "SELECT (SELECT count(*) FROM t1), (SELECT count(*) FROM twin)"
        )
    assert ones == twins > 1


def test_no_room_for_it_is_an_error_before_anything_is_touched(filled: Project) -> None:
    filled.query("CREATE TABLE big (body BLOB)")
    filled.query("INSERT INTO big VALUES (zeroblob(3000000))")
    filled.revision(2, TABLE.format(2))
    before = filled.tables
    program = textwrap.dedent("""\
        import resource, signal
        from alembic.config import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        main(argv=["upgrade", "head"])
    """)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=filled.folder, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "no restore point could be made at" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert filled.tables == before
    assert filled.applied == ["0001"]
    assert copies(filled) == []
