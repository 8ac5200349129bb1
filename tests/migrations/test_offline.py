"""``--sql``: the same schema and the same ledger, or a refusal."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.util import CommandError

from tests.migrations.support import Project

TABLE = "op.create_table('t{}', sa.Column('id', sa.Integer, primary_key=True))"
READS = {
    "rows": "op.get_bind().execute(sa.text('SELECT 1')).all()",
    "a scalar": "assert op.get_bind().scalar(sa.text('SELECT 1')) == 1",
    "the schema": "sa.inspect(op.get_bind())",
    "a rebuild": "with op.batch_alter_table('t1') as batch: batch.drop_column('id')",
}


def run(project: Project, script: str) -> None:
    with closing(sqlite3.connect(project.database)) as connection:
        connection.executescript(script)


def ledger(project: Project) -> list[tuple[str, ...]]:
    return project.query("SELECT revision, name, checksum FROM orm_revisions ORDER BY 1")


@pytest.fixture
def ready(project: Project) -> Project:
    for number in (1, 2, 3):
        project.revision(number, TABLE.format(number))
    return project


def test_a_script_is_as_good_as_an_upgrade(ready: Project) -> None:
    script = ready.alembic("upgrade", "head", "--sql")
    assert ready.is_untouched
    run(ready, script)
    written = ledger(ready)
    [(applied_at,)] = ready.query(
        "SELECT count(*) FROM orm_revisions"
        " WHERE abs(julianday('now') - julianday(applied_at)) < 0.01"
    )
    assert applied_at == 3
    said = ready.orm("list", "--local")
    assert (said.exit_code, said.output.count("applied")) == (0, 3)
    ready.alembic("upgrade", "head")
    ready.database.unlink()
    ready.alembic("upgrade", "head")
    assert ledger(ready) == written


def test_a_script_that_goes_on(ready: Project) -> None:
    ready.alembic("upgrade", "0001")
    run(ready, ready.alembic("upgrade", "0001:head", "--sql"))
    assert ready.ledger == ["0001", "0002", "0003"]
    ready.alembic("upgrade", "head")
    assert {"t1", "t2", "t3"} <= ready.tables


@pytest.mark.parametrize("what", READS)
def test_what_asks_the_database_is_refused_whole(ready: Project, what: str) -> None:
    ready.revision(2, READS[what])
    with pytest.raises(CommandError, match=r"0002_by_hand\.py cannot be written as a") as e:
        ready.alembic("upgrade", "head", "--sql")
    assert "alembic upgrade 0002:head --sql" in str(e.value)


def test_nothing_is_printed_of_a_refused_script(ready: Project) -> None:
    ready.revision(2, READS["rows"])
    said = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head", "--sql"],
        cwd=ready.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode != 0
    assert said.stdout.startswith("FAILED: 0002_by_hand.py")


def test_a_dry_run_prints_the_script_of_what_is_pending(ready: Project) -> None:
    ready.alembic("upgrade", "0001")
    before = ready.contents
    said = ready.orm("apply", "--local", "--dry-run")
    assert said.exit_code == 0
    assert "CREATE TABLE t2" in said.output
    assert "CREATE TABLE t1" not in said.output
    assert ready.contents == before
    run(ready, said.output)  # all else in it is a comment
    assert ready.ledger == ["0001", "0002", "0003"]


def test_a_dry_run_of_what_asks_the_database_says_so(ready: Project) -> None:
    ready.revision(2, READS["rows"])
    said = ready.orm("apply", "--local", "--dry-run")
    assert said.exit_code == 0
    assert "-- 0002_by_hand" in said.output
    assert "A script cannot ask the database" in said.output
