"""A revision that fails: whole or not at all, and the message says where to look."""

import re

import pytest

from orm.bookmark import Bookmark
from tests.migrations.support import COMMAND_LINES, ENGINES, Project

USERS = "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))"
POSTS = (
    "op.create_table('posts', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('user_id', sa.Integer, sa.ForeignKey('users.id')))"
)
LATER = "op.create_table('later', sa.Column('id', sa.Integer))"


@ENGINES
@COMMAND_LINES
def test_at_its_third_statement(project: Project, command_line: str) -> None:
    project.revision(1, USERS)
    project.revision(
        2, POSTS, "op.execute('INSERT INTO users (id) VALUES (7)')",
        "op.execute('INSERT INTO   nowhere VALUES (8)')",
    )  # fmt: skip
    project.revision(3, LATER)
    refusal = project.refusal(command_line)
    assert "0002_by_hand.py failed in line 11, nothing of it stays" in refusal
    assert re.search('no such table: nowhere|relation "nowhere" does not exist', refusal)
    assert "The statement: INSERT INTO nowhere VALUES (8)" in refusal
    assert "The database is at 0001" in refusal
    assert project.tables - {"orm_position"} == {"alembic_version", "orm_revisions", "users"}
    assert project.applied == project.ledger == ["0001"]
    assert project.query("SELECT * FROM users") == []

    project.revision(2, POSTS)
    project.upgrade(command_line)
    assert project.applied == ["0003"]
    assert project.ledger == ["0001", "0002", "0003"]
    assert {"posts", "later"} <= project.tables


@ENGINES
@COMMAND_LINES
def test_in_python(project: Project, command_line: str) -> None:
    project.revision(1, USERS, "{}['x']")
    refusal = project.refusal(command_line)
    assert "0001_by_hand.py failed in line 10, nothing of it stays: KeyError: 'x'" in refusal
    assert "The database has no revision yet" in refusal
    assert project.ledger == []
    assert "users" not in project.tables


@ENGINES
@COMMAND_LINES
def test_dangling_foreign_keys(project: Project, command_line: str) -> None:
    project.revision(1, USERS, POSTS)
    project.upgrade(command_line)
    project.query("INSERT INTO users (id) VALUES (1)")
    project.query("INSERT INTO posts (id, user_id) VALUES (5, 1)")
    project.revision(2, LATER, "op.execute('DELETE FROM users')")
    refusal = project.refusal(command_line)
    assert "0002_by_hand.py failed" in refusal
    named = (
        r'posts\.user_id of row 5 -> users|Key \(id\)=\(1\) is still referenced from table "posts"'
    )
    assert re.search(named, refusal)
    assert project.query("SELECT count(*) FROM users") == [(1,)]
    assert project.ledger == ["0001"]
    assert "later" not in project.tables


@ENGINES
@COMMAND_LINES
def test_the_ledger(project: Project, command_line: str) -> None:
    project.revision(1, USERS)
    project.revision(2, LATER)
    project.revision(3, POSTS)
    project.upgrade(command_line)
    rows = project.query(
        "SELECT name, seconds, bookmark, note, length(checksum) FROM orm_revisions ORDER BY 1"
    )
    assert [row[0] for row in rows] == ["0001_by_hand", "0002_by_hand", "0003_by_hand"]
    assert all(0 < row[1] < 60 for row in rows)
    first, second, third = (Bookmark.decode(row[2]) for row in rows)
    assert second.covers(first) and third.covers(second), "each has the position before it"
    assert len({first, second, third}) == 3
    assert {row[3:] for row in rows} == {(None, 64)}


@COMMAND_LINES
def test_the_database_cannot_be_opened(project: Project, command_line: str) -> None:
    project.revision(1, USERS)
    settings = project.folder / "pyproject.toml"
    local = '[tool.orm]\nlocal = "sqlite+aiosqlite:///nowhere/app.db"\n'
    settings.write_text(settings.read_text() + local)
    assert "the folder of the database does not exist" in project.refusal(command_line)


@pytest.mark.parametrize("command", ["list", "check"])
def test_a_folder_that_is_not_there_is_no_empty_database(project: Project, command: str) -> None:
    project.revision(1, USERS)
    settings = project.folder / "pyproject.toml"
    local = '[tool.orm]\nlocal = "sqlite+aiosqlite:///nowhere/app.db"\n'
    settings.write_text(settings.read_text() + local)
    result = project.orm(command, "--local")
    assert result.exit_code != 0
    assert "the folder of the database does not exist" in result.output


@COMMAND_LINES
def test_a_block_for_other_engines_does_not_split_it(project: Project, command_line: str) -> None:
    block = ("with op.get_context().autocommit_block():", f"    {LATER}")
    project.revision(1, USERS, *block, "op.execute('?')")
    assert "nothing of it stays" in project.refusal(command_line)
    assert not {"users", "later"} & project.tables
    project.revision(1, USERS, *block)
    project.upgrade(command_line)
    assert {"users", "later"} <= project.tables
    assert project.ledger == ["0001"]
