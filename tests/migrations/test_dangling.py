"""A revision that leaves foreign keys without their parent row is rolled back, and only that."""

import logging

import pytest
from alembic.util import CommandError

from tests.migrations.support import Project

DELETE = "op.execute('DELETE FROM users WHERE id = 1')"


@pytest.fixture
def family(project: Project) -> Project:
    project.revision(1, "pass")
    project.alembic("upgrade", "head")
    project.query("CREATE TABLE users (id INTEGER PRIMARY KEY, kind TEXT, UNIQUE (id, kind))")
    project.query(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, boss_id INTEGER, user_id INTEGER"
        " REFERENCES users, kind TEXT, FOREIGN KEY (boss_id, kind) REFERENCES users (id, kind))"
    )
    project.query(
        "CREATE TABLE likes (user_id INTEGER REFERENCES users ON DELETE CASCADE, post_id INTEGER,"
        " PRIMARY KEY (user_id, post_id)) WITHOUT ROWID"
    )
    project.query("INSERT INTO users VALUES (1, 'x'), (2, 'x')")
    return project


def test_table_column_row_and_parent_are_named(family: Project) -> None:
    family.query("INSERT INTO posts VALUES (7, 1, 1, 'x')")
    family.revision(2, DELETE)
    with pytest.raises(CommandError) as refusal:
        family.alembic("upgrade", "head")
    assert "posts.user_id of row 7 -> users" in str(refusal.value)
    assert "posts.boss_id, kind of row 7 -> users" in str(refusal.value)
    assert family.applied == ["0001"]
    assert family.query("SELECT count(*) FROM users") == [(2,)]


def test_rows_without_a_number_are_counted(family: Project) -> None:
    family.query("INSERT INTO likes VALUES (1, 1), (1, 2), (2, 1)")
    family.revision(2, DELETE)
    with pytest.raises(CommandError, match=r": 2 .*: likes.user_id -> users \(2 rows\)"):
        family.alembic("upgrade", "head")


def test_a_long_list_is_cut(family: Project) -> None:
    for number in range(20):
        family.query("INSERT INTO posts (id, user_id) VALUES (?, 1)", number)
    family.revision(2, DELETE)
    with pytest.raises(CommandError, match=r": 20 foreign key.* of row 4 -> users, …"):
        family.alembic("upgrade", "head")


def test_no_revision_is_blamed_for_what_was_there_before(
    family: Project, caplog: pytest.LogCaptureFixture
) -> None:
    family.query("INSERT INTO posts (id, user_id) VALUES (5, 99)")
    family.query("INSERT INTO likes VALUES (99, 1)")
    family.revision(2, "op.execute('UPDATE posts SET kind = 1')")
    with caplog.at_level(logging.WARNING, "orm"):
        family.alembic("upgrade", "head")
    [record] = [one for one in caplog.records if one.name.startswith("orm.migrations")]
    assert "2 fault(s)" in record.getMessage()
    assert "posts.user_id of row 5 -> users" in record.getMessage()
    assert family.applied == ["0002"]

    family.revision(3, "op.execute('INSERT INTO likes VALUES (98, 1)')")
    with pytest.raises(CommandError, match=r": 1 foreign key.*: likes.user_id -> users\."):
        family.alembic("upgrade", "head")
