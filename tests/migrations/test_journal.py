"""A revision that fails, or is killed, where CREATE and ALTER commit: the next apply goes on."""

import json
import multiprocessing
import os
import random
import re
import signal
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


KILLED = """\
import os, signal
from pymysql.connections import Connection
sent, query = 0, Connection.query
def count(self, sql, unbuffered=False):
    global sent
    sent += (sql if isinstance(sql, str) else sql.decode()).startswith({what!r})
    if {when!r} == "before" and sent == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    found = query(self, sql, unbuffered)
    if sent == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
Connection.query = count
"""
"""What kills the process before or after one of the statements that the server gets, also between
a statement of the revision and what the journal says of it."""


def killed(project: MySQLProject, what: str, when: str, at: int = 1) -> bool:
    """Whether an `apply` in another process was killed: at one of those that begin with `what`."""
    project.models(KILLED.format(what=what, when=when, at=at))
    process = PROCESSES.Process(target=apply_in, args=[str(project.folder)])
    process.start()
    process.join(60)
    project.models("")
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


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


SWAPS = [
    "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
    "RENAME TABLE t TO x, u TO t, x TO u",
]


@MYSQL
@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_names_that_are_swapped_are_not_swapped_back(
    project: MySQLProject, swap: str, when: str
) -> None:
    """What is defined afterwards is what was defined before."""
    for table in ("t", "u"):
        project.query(f"CREATE TABLE {table} (id INT PRIMARY KEY, a INT, b INT)")
    project.query("INSERT INTO t VALUES (1, 1, 2)")
    project.revision(1, f"op.execute('{swap}')")
    assert killed(project, swap, when)
    if swap.startswith("RENAME") and when == "after":  # nothing tells that it was done
        assert "was begun, and did not come to its end" in project.refusal("orm")
        assert project.query("SELECT a, b FROM u") == [(1, 2)]
        project.query("UPDATE orm_journal SET ended = TRUE WHERE revision = '0001' AND number = 1")
    project.upgrade("orm")
    rows = [project.query(f"SELECT a, b FROM {table}") for table in ("t", "u")]
    assert rows == ([[], [(1, 2)]] if swap.startswith("RENAME") else [[(2, 1)], []])


@MYSQL
def test_what_an_earlier_run_was_answered_is_answered_again(project: MySQLProject) -> None:
    """A key that the server gave to a row, and how many rows there were."""
    project.revision(
        1,
        "p = op.create_table('p', sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('a', sa.Integer))",
        "c = op.create_table('c', sa.Column('p', sa.Integer), sa.Column('n', sa.Integer))",
        "bind = op.get_bind()",
        "bind.execute(p.insert(), [{'a': 1}, {'a': 2}])",
        "[key] = bind.execute(p.insert().values(a=3)).inserted_primary_key",
        "n = bind.execute(p.update().values(a=4).where(p.c.a < 3)).rowcount",
        "op.execute('CREATE TABLE other (id INT)')",
        "op.execute('INSERT INTO absent VALUES (1)')",
        "bind.execute(c.insert().values(p=key, n=n))",
    )
    assert "its first 6 statements stay" in project.refusal("orm")
    project.query("CREATE TABLE absent (id INT)")
    project.upgrade("orm")
    assert project.query("SELECT p, n FROM c") == [(3, 2)]


MANY = [
    "bind, many = op.get_bind(), [{'id': n + 1, 'a': n} for n in range(30)]",
    "t = op.create_table('t', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('a', sa.Integer))",
    "op.bulk_insert(t, many)",
    "[key] = bind.execute(t.insert().values(a=30)).inserted_primary_key",
    "op.execute('CREATE TABLE u AS SELECT id, a FROM t WHERE a < 10')",
    "op.execute('INSERT INTO u (id, a) SELECT id, a FROM t WHERE a >= 20')",
    "op.execute('RENAME TABLE t TO t_old, u TO t_new')",
    "op.execute('UPDATE t_new SET a = a + 1')",
    "op.add_column('t_new', sa.Column('b', sa.Integer, server_default='5'))",
    "u = sa.table('t_new', sa.column('id'), sa.column('a'), sa.column('b'))",
    "gone = bind.execute(u.delete().where(u.c.a.between(26, 30))).rowcount",
    "op.create_index('ix', 't_new', ['a'])",
    "bind.execute(u.update().values(b=u.c.b + gone).where(u.c.id == sa.bindparam('of')),"
    " [{'of': 1}, {'of': 2}])",
    "op.execute('CREATE VIEW v AS SELECT a FROM t_new')",
    "op.execute('DROP TABLE t_old')",
    "bind.execute(u.insert(), {'id': 1000, 'a': key, 'b': gone})",
]
"""DDL and changes of rows that follow from each other: none of them may be done twice, or not."""


@MYSQL
@pytest.mark.slow
def test_killed_at_any_statement_that_the_server_gets(project: MySQLProject) -> None:
    """Also between a statement of the revision and what the journal says of it."""
    project.revision(1, *MANY)
    chance = random.Random(f"{os.environ.get('ORM_SEED', 7)} {project.url.partition('+')[0]}")
    kills = 0
    while killed(project, "", chance.choice(("before", "after")), chance.randint(30, 150)):
        kills += 1
        assert kills < 100, "each run goes on where the last one was killed"
    assert project.ledger == ["0001"]
    rows = project.query("SELECT id, a, b FROM t_new ORDER BY id")
    kept = [*range(10), *range(20, 25)]  # and five were deleted
    *others, last = rows
    [key] = [key for key, a, _ in others if a == 31]  # a run that was killed may have used up some
    assert last == (1000, key, 5)
    assert others == [*((a + 1, a + 1, 5 + 5 * (a < 2)) for a in kept), (key, 31, 5)]
    assert "t_old" not in project.tables
    assert project.query("SELECT COUNT(*) FROM orm_journal") == [(0,)]
    assert kills


def test_the_journal_is_for_engines_whose_ddl_commits(project: Project) -> None:
    project.revision(
        1, "op.create_table('t', sa.Column('id', sa.Integer))", "op.execute('nonsense')"
    )
    assert "nothing of it stays" in project.refusal("orm")
    assert "t" not in project.tables
