"""A revision that fails, or is killed, where CREATE and ALTER commit: the next apply goes on."""

import json
import multiprocessing
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from orm.migrations import target_url
from orm.migrations.application import Application
from orm.migrations.running.applying import apply_now
from tests.migrations.support import COMMAND_LINES, MYSQL, MySQLProject, Project

FOUR = (
    "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('name', sa.String(50)))",
    "op.execute(sa.text(\"INSERT INTO users VALUES (1, 'a'), (2, 'a')\"))",
    "op.create_unique_constraint('uq_users_name', 'users', ['name'])",
    "op.add_column('users', sa.Column('age', sa.Integer))",
)


@MYSQL
@COMMAND_LINES
def test_a_revision_that_fails_goes_on_where_it_failed(
    project: MySQLProject, command_line: str
) -> None:
    project.revision(1, *FOUR)
    said = project.refusal(command_line)
    assert "in line 11, its first 2 statements stay: " in said
    assert "Duplicate entry 'a'" in said
    assert "Correct the file after that, or the rows, and apply again: apply goes on" in said
    assert "goes on with its statement 3, and leaves out those that were done" in said
    assert project.query("SELECT name FROM users") == [("a",), ("a",)]
    assert project.applied == []
    half_done = "0001_by_hand is half done, its first 2 statements stay"
    command = "To go on there: orm migrations apply --local"
    listed = project.orm("list", "--local")
    assert listed.exit_code == 1
    assert listed.stdout == "0001_by_hand  half done\n"
    assert listed.stderr == f"! {half_done}. {command}\n"
    said = json.loads(project.orm("list", "--local", "--json").stdout)
    assert [row["state"] for row in said["revisions"]] == ["half done"]
    assert [found["kind"] for found in said["findings"]] == ["half_done"]

    project.query("UPDATE users SET name = 'b' WHERE id = 2")
    project.upgrade(command_line)
    assert project.columns("users") == ["id", "name", "age"]
    assert project.query("SELECT id, name FROM users") == [(1, "a"), (2, "b")]
    assert project.ledger == ["0001"]
    assert project.query("SELECT COUNT(*) FROM orm_journal") == [(0,)]
    listed = project.orm("list", "--local")
    assert (listed.exit_code, listed.stderr) == (0, "")


@MYSQL
def test_what_failed_may_be_corrected_and_what_was_done_may_not(project: MySQLProject) -> None:
    project.revision(1, *FOUR)
    project.refusal("orm")
    table, rows, unique, column = FOUR
    project.revision(1, table.replace("50", "60"), rows, unique, column)
    said = project.refusal("orm")
    assert "its statement 1 was done by an earlier run, and is another one now" in said
    assert "VARCHAR(50)" in said
    assert "VARCHAR(60)" in said
    project.revision(1, table)
    assert "its statement 2 was done by an earlier run" in project.refusal("orm")
    assert project.ledger == []

    project.revision(1, table, rows, "op.execute('DELETE FROM users WHERE id = 2')", unique, column)
    project.upgrade("orm")
    assert project.columns("users") == ["id", "name", "age"]
    assert project.query("SELECT id FROM users") == [(1,)]


@MYSQL
def test_a_repair_by_hand_of_the_catalog_is_not_taken_for_the_statement(
    project: MySQLProject,
) -> None:
    project.revision(1, *FOUR)
    project.refusal("orm")
    project.query("ALTER TABLE users ADD COLUMN note VARCHAR(10)")
    project.query("DELETE FROM users WHERE id = 2")
    project.upgrade("orm")
    assert project.columns("users") == ["id", "name", "note", "age"]
    assert project.query("SHOW INDEX FROM users WHERE Key_name = 'uq_users_name'")


@MYSQL
def test_values_of_the_moment_do_not_make_another_statement(project: MySQLProject) -> None:
    project.revision(
        1,
        "t = op.create_table('t', sa.Column('at', sa.String(40)))",
        "import datetime",
        "op.bulk_insert(t, [{'at': str(datetime.datetime.now())}])",
        "op.create_table('u', sa.Column('id', sa.Integer))",
        "op.execute('INSERT INTO absent VALUES (1)')",
    )
    assert "its first 3 statements stay" in project.refusal("orm")
    [at] = project.query("SELECT at FROM t")
    project.query("CREATE TABLE absent (id INTEGER)")
    project.upgrade("orm")
    assert project.query("SELECT at FROM t") == [at]
    assert project.query("SELECT * FROM absent") == [(1,)]


@MYSQL
def test_what_a_procedure_did_before_it_failed_is_not_guessed(project: MySQLProject) -> None:
    project.query("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    project.query(
        "CREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (1); COMMIT;"
        " INSERT INTO absent VALUES (1); END"
    )
    project.revision(1, "op.execute('CALL p()')")
    said = project.refusal("orm")
    assert "statement 1 of 0001 was begun, and did not come to its end: CALL p()" in said
    project.query("UPDATE orm_journal SET ended = TRUE WHERE revision = '0001' AND number = 1")
    project.upgrade("orm")
    assert project.query("SELECT * FROM t") == [(1,)]


@MYSQL
def test_tables_that_are_dropped_one_after_the_other_are_not_guessed(
    project: MySQLProject,
) -> None:
    project.query("CREATE TABLE a (id INTEGER)")
    project.revision(1, "op.execute('DROP TABLE a, absent')")
    said = project.refusal("orm")
    if project.url.startswith("mysql"):  # all of it or nothing
        assert "nothing of it stays" in said
        assert "a" in project.tables
        return
    assert "was begun, and did not come to its end: DROP TABLE a, absent" in said
    assert "a" not in project.tables
    [command] = re.findall(r"UPDATE orm_journal .*? number = 1", said)
    project.query(command)
    project.upgrade("orm")
    assert project.ledger == ["0001"]


@MYSQL
def test_a_connection_that_is_lost_takes_nothing_back(project: MySQLProject) -> None:
    table, rows, _, column = FOUR
    project.revision(1, table, rows, column, "op.execute('KILL CONNECTION_ID()')")
    said = project.refusal("orm")
    assert "what it did before that stays" in said
    assert "apply goes on with the first statement that was not done" in said
    project.revision(1, table, rows, column)
    project.upgrade("orm")
    assert project.query("SELECT id, age FROM users") == [(1, None), (2, None)]
    assert project.query("SELECT COUNT(*) FROM orm_journal") == [(0,)]


@MYSQL
def test_another_revision_does_not_overtake_a_half_done_one(project: MySQLProject) -> None:
    project.revision(1, *FOUR)
    project.refusal("orm")
    project.file("0001_by_hand.py").unlink()
    project.revision(1, "op.execute('CREATE TABLE other (id INTEGER)')")
    assert "its statement 1 was done by an earlier run" in project.refusal("orm")
    assert "other" not in project.tables


@MYSQL
def test_a_half_done_revision_whose_file_is_gone_is_named(project: MySQLProject) -> None:
    project.revision(1, *FOUR)
    project.refusal("orm")
    file = project.file("0001_by_hand.py")
    text = file.read_text()
    file.unlink()
    listed = project.orm("list", "--local")
    assert listed.exit_code == 1
    assert "! revision 0001 is half done, and is not the next one to be applied" in listed.stderr
    assert "revision 0001 is half done" in project.refusal("orm")
    file.write_text(text)
    planned = project.orm("apply", "--local", "--dry-run").output
    assert "-- 0001_by_hand goes on at its statement 3; below is the whole revision\n" in planned
    project.query("UPDATE users SET name = 'b' WHERE id = 2")
    assert "0001_by_hand goes on at its statement 3" in project.orm("apply", "--local").output
    assert project.ledger == ["0001"]


@MYSQL
def test_what_a_half_done_revision_has_made_is_no_drift(project: MySQLProject) -> None:
    table, _, unique, column = FOUR
    project.revision(1, table)
    project.upgrade("orm")
    project.query("INSERT INTO users VALUES (1, 'a'), (2, 'a')")
    project.revision(2, column, "op.execute('UPDATE users SET age = id')", unique)
    assert "its first 2 statements stay" in project.refusal("orm")
    project.models(
        'Table("users", metadata, Column("id", Integer, primary_key=True),'
        ' Column("name", String(50), unique=True), Column("age", Integer))'
    )
    said = project.orm("check", "--local")
    assert said.exit_code == 1
    assert said.stderr == (
        "0002_by_hand is half done, its first 2 statements stay. To go on there: orm migrations"
        " apply --local\n"
    )


TEN = [
    line
    for n in range(4)
    for line in (
        f"op.execute('CREATE TABLE t{n} (id INTEGER PRIMARY KEY AUTO_INCREMENT, a INTEGER)')",
        f"op.execute('INSERT INTO t{n} (a) VALUES (1)')",
        f"op.execute('ALTER TABLE t{n} ADD COLUMN b INTEGER, ADD INDEX ix{n} (a)')",
        f"op.execute('UPDATE t{n} SET a = a + 1')",
    )
]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["orm.migrations.running.applying", "pymysql"])
DIE = """\
import os
from sqlalchemy import Engine, event
seen = 0
@event.listens_for(Engine, "{when}_cursor_execute")
def die(c, cursor, sql, *_):
    global seen
    seen += sql.startswith(("CREATE TABLE t", "INSERT INTO t", "ALTER", "UPDATE t"))
    if seen == {at}:
        os._exit(9)
"""


def apply_in(folder: str, began: Any = None) -> None:
    """What runs in a process of its own, which can be killed."""
    os.chdir(folder)
    if began is not None:
        began.set()
    apply_now(Application.at(Path(folder)), target_url("local"))


def is_whole(project: MySQLProject) -> None:
    for n in range(4):
        assert project.query(f"SELECT a, b FROM t{n}") == [(2, None)]
    assert project.ledger == ["0001"]
    assert project.query("SELECT COUNT(*) FROM orm_journal") == [(0,)]


@MYSQL
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_statement_it_goes_on(project: MySQLProject, when: str) -> None:
    project.revision(1, *TEN)
    for at in (1, 2, 3, 4, 3):  # statements of each run, which begins where the last one ended
        project.models(DIE.format(when=when, at=at))
        process = PROCESSES.Process(target=apply_in, args=[str(project.folder)])
        process.start()
        process.join(60)
        assert process.exitcode == 9
    project.models("")
    project.upgrade("orm")
    is_whole(project)


@MYSQL
@pytest.mark.slow
def test_killed_at_any_moment_it_does_each_statement_once(project: MySQLProject) -> None:
    project.revision(1, *TEN)
    chance = random.Random(7)
    killed = 0
    for _ in range(int(os.environ.get("ORM_KILLS", "10"))):
        began = PROCESSES.Event()
        process = PROCESSES.Process(target=apply_in, args=[str(project.folder), began])
        process.start()
        began.wait(60)
        process.join(chance.random() * 0.6)
        killed += process.is_alive()
        process.kill()
        process.join(60)
        if project.ledger:
            is_whole(project)
            for table in project.tables:
                project.query(f"DROP TABLE {table}")
    project.upgrade("orm")
    is_whole(project)
    assert killed


def test_the_journal_is_for_engines_whose_ddl_commits(project: Project) -> None:
    project.revision(
        1, "op.create_table('t', sa.Column('id', sa.Integer))", "op.execute('nonsense')"
    )
    assert "nothing of it stays" in project.refusal("orm")
    assert "t" not in project.tables
