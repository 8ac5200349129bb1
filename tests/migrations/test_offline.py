"""``--sql``: the same schema and the same ledger, or a refusal."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from alembic.util import CommandError

from tests.migrations.support import ENGINES, POSTGRESQL, Project

TABLE = "op.create_table('t{}', sa.Column('id', sa.Integer, primary_key=True))"
READS = {
    "rows": "op.get_bind().execute(sa.text('SELECT 1')).all()",
    "rows in a loop": "for row in op.get_bind().execute(sa.text('SELECT 1')): row",
    "a session": "sa.orm.Session(op.get_bind()).scalar(sa.text('SELECT 1'))",
    "a transaction": "with op.get_bind().begin(): pass",
    "a scalar": "assert op.get_bind().scalar(sa.text('SELECT 1')) == 1",
    "the schema": "sa.inspect(op.get_bind())",
    "the driver": "op.get_bind().exec_driver_sql('SELECT 1')",
}
REBUILD = "with op.batch_alter_table('t1') as batch: batch.drop_column('id')"


def found(project: Project) -> list[str]:
    """Where the schema is another one than the revisions make."""
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    return [problem["message"] for problem in problems if problem["kind"] == "drift"]


def ledger(project: Project) -> list[tuple[str, ...]]:
    return project.query("SELECT revision, name, checksum FROM orm_revisions ORDER BY 1")


@pytest.fixture
def ready(project: Project) -> Project:
    for number in (1, 2, 3):
        project.revision(number, TABLE.format(number))
    return project


@ENGINES
def test_a_script_is_as_good_as_an_upgrade(ready: Project) -> None:
    script = ready.alembic("upgrade", "head", "--sql")
    assert ready.is_untouched
    ready.run_script(script)
    written = ledger(ready)
    said = ready.orm("list", "--local", "--json")
    rows = json.loads(said.stdout)["revisions"]
    ago = [datetime.now(UTC) - datetime.fromisoformat(row["applied_at"]) for row in rows]
    assert all(timedelta(0) <= one < timedelta(minutes=5) for one in ago), "when the script ran"
    ready.alembic("upgrade", "head")
    assert found(ready) == []
    ready.clear()
    ready.alembic("upgrade", "head")
    assert ledger(ready) == written


@ENGINES
def test_a_script_that_goes_on(ready: Project) -> None:
    ready.alembic("upgrade", "0001")
    ready.run_script(ready.alembic("upgrade", "0001:head", "--sql"))
    assert ready.ledger == ["0001", "0002", "0003"]
    ready.alembic("upgrade", "head")
    assert {"t1", "t2", "t3"} <= ready.tables


@ENGINES
@pytest.mark.parametrize("what", READS)
def test_what_asks_the_database_is_refused_whole(ready: Project, what: str) -> None:
    ready.revision(2, READS[what])
    with pytest.raises(CommandError, match=r"0002_by_hand\.py cannot be written as a") as e:
        ready.alembic("upgrade", "head", "--sql")
    assert re.search(r"in line \d+: it asks the database .*, and a script cannot\. ", str(e.value))
    assert "alembic upgrade 0002:head --sql" in str(e.value)
    assert not re.search("Mock|NoneType|Error|_Told|_NoAnswer", str(e.value))


@ENGINES
def test_a_script_writes_what_a_revision_executes_itself(ready: Project) -> None:
    ready.revision(
        2,
        "bind = op.get_bind()",
        "assert not hasattr(bind, 'nothing') and bind.dialect.name == bind.engine.dialect.name",
        "sa.Table('t2', sa.MetaData(), sa.Column('id', sa.Integer)).create(bind)",
        "bind.execute(sa.text('INSERT INTO t2 VALUES (42)'))",
    )
    ready.run_script(ready.alembic("upgrade", "head", "--sql"))
    assert ready.query("SELECT id FROM t2") == [(42,)]


def test_a_mistake_in_a_revision_is_not_taken_for_a_question(ready: Project) -> None:
    ready.revision(2, "None.all()")
    with pytest.raises(CommandError, match=r"line 9: AttributeError: 'NoneType' .* 'all'$"):
        ready.alembic("upgrade", "head", "--sql")


@ENGINES
def test_only_sqlite_has_to_ask_for_a_rebuild(ready: Project) -> None:
    ready.revision(2, REBUILD)
    if "sqlite" in ready.url:
        with pytest.raises(CommandError, match=r"0002_by_hand\.py cannot be written as a"):
            ready.alembic("upgrade", "head", "--sql")
    else:
        assert "ALTER TABLE t1 DROP COLUMN id" in ready.alembic("upgrade", "head", "--sql")


def test_a_dry_run_of_a_rebuild_says_what_shows_its_sql(ready: Project) -> None:
    ready.alembic("upgrade", "0002")
    ready.revision(
        3, "with op.batch_alter_table('t1') as b: b.create_check_constraint('positive', 'id > 0')"
    )
    said = ready.orm("apply", "--local", "--dry-run").output
    assert said.endswith(
        "-- There is no script of it: 0003_by_hand.py cannot be written as a script in line 9: "
        "a batch reads the table that it writes anew, and a script cannot. To see its SQL: "
        "orm migrations show 0003. It runs only online\n"
    )
    assert "DROP TABLE t1" in ready.orm("show", "0003").output


@POSTGRESQL
def test_what_show_cannot_show_either_is_not_advised(ready: Project) -> None:
    ready.revision(
        3, "with op.batch_alter_table('t1', recreate='always') as b: b.drop_constraint('c')"
    )
    said = ready.orm("show", "0003")
    assert "a batch reads the table that it writes anew, and a script cannot" in said.stderr
    assert "orm migrations show" not in said.stderr
    with pytest.raises(CommandError, match="a script cannot") as e:
        ready.alembic("upgrade", "head", "--sql")
    assert "orm migrations show" not in str(e.value)


@ENGINES
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


@ENGINES
def test_a_dry_run_prints_the_script_of_what_is_pending(ready: Project) -> None:
    ready.alembic("upgrade", "0001")
    before = ready.contents
    said = ready.orm("apply", "--local", "--dry-run")
    assert said.exit_code == 0
    assert "CREATE TABLE t2" in said.output
    assert "CREATE TABLE t1" not in said.output
    assert ready.contents == before
    ready.run_script(said.output)  # all else in it is a comment
    assert ready.ledger == ["0001", "0002", "0003"]


@ENGINES
def test_a_dry_run_of_what_asks_the_database_says_so(ready: Project) -> None:
    ready.revision(2, READS["rows"])
    said = ready.orm("apply", "--local", "--dry-run")
    assert said.exit_code == 0
    assert "-- 0002_by_hand" in said.output
    assert "it asks the database (op.get_bind().execute(…).all), and a script" in said.output
