"""A table rebuild on SQLite loses no row: neither of the table nor of those that refer to it."""

import pytest
from alembic.util import CommandError

from tests.migrations.support import Project

CHANGES = {
    "drop a column": "batch.drop_column('nick')",
    "alter a column": "batch.alter_column('email', nullable=False)",
    "rename a column": "batch.alter_column('email', new_column_name='address')",
    "rename the key": "batch.alter_column('id', new_column_name='number')",
}
FOLLOWS = pytest.mark.parametrize("rule", ["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"])


@pytest.fixture
def tree(project: Project) -> Project:
    """A project whose first revision has run; `rows` fills it."""
    project.revision(1, "pass")
    return project


def create(project: Project, rule: str) -> None:
    project.alembic("upgrade", "head")
    for sql in (
        f"""CREATE TABLE users (
            id INTEGER NOT NULL PRIMARY KEY, email VARCHAR(20), nick VARCHAR,
            boss_id INTEGER,
            CONSTRAINT fk_boss FOREIGN KEY(boss_id) REFERENCES users (id) ON DELETE {rule}
        )""",
        f"""CREATE TABLE posts (
            id INTEGER NOT NULL PRIMARY KEY,
            user_id INTEGER REFERENCES users (id) ON DELETE {rule}
        )""",
        f"""CREATE TABLE comments (
            id INTEGER NOT NULL PRIMARY KEY,
            post_id INTEGER CONSTRAINT fk_post REFERENCES posts (id) ON DELETE {rule}
        )""",
        "INSERT INTO users VALUES (1, 'a', 'x', NULL), (2, 'b', NULL, 1), (3, 'c', 'y', 2)",
        "INSERT INTO posts VALUES (10, 1), (11, 1), (12, 3), (13, NULL)",
        "INSERT INTO comments VALUES (100, 10), (101, 12), (102, 12)",
    ):
        project.query(sql)


@FOLLOWS
@pytest.mark.parametrize("change", CHANGES)
def test_every_child_survives(tree: Project, change: str, rule: str) -> None:
    create(tree, rule)
    children = "SELECT * FROM posts", "SELECT * FROM comments", "SELECT boss_id FROM users"
    before = [tree.query(sql) for sql in children]
    tree.revision(2, "with op.batch_alter_table('users') as batch:", f"    {CHANGES[change]}")
    tree.alembic("upgrade", "head")
    assert [tree.query(sql) for sql in children] == before
    assert [row[1] for row in tree.query("SELECT * FROM users")] == ["a", "b", "c"]
    assert tree.query("PRAGMA foreign_key_check") == []


@FOLLOWS
def test_references_still_act_as_they_did(tree: Project, rule: str) -> None:
    create(tree, rule)
    asked = "SELECT \"from\", on_delete FROM pragma_foreign_key_list('{}')"
    tree.revision(
        2,
        *(
            f"with op.batch_alter_table('{table}', recreate='always') as batch: pass"
            for table in ("users", "posts", "comments")
        ),
    )
    tree.alembic("upgrade", "head")
    for table, column in (("users", "boss_id"), ("posts", "user_id"), ("comments", "post_id")):
        assert tree.query(asked.format(table)) == [(column, rule)]


def test_a_renamed_key_is_what_children_refer_to(tree: Project) -> None:
    create(tree, "CASCADE")
    tree.revision(
        2, "with op.batch_alter_table('users') as batch:", f"    {CHANGES['rename the key']}"
    )
    tree.alembic("upgrade", "head")
    for table in ("posts", "users"):
        [(to,)] = tree.query(f"SELECT \"to\" FROM pragma_foreign_key_list('{table}')")
        assert to == "number"


def test_columns_that_swap_names_are_told_to_take_two_steps(tree: Project) -> None:
    create(tree, "CASCADE")
    tree.revision(
        2,
        "with op.batch_alter_table('users') as batch:",
        "    batch.alter_column('email', new_column_name='nick')",
        "    batch.alter_column('nick', new_column_name='email')",
    )
    with pytest.raises(CommandError, match="batch_alter_table of its own"):
        tree.alembic("upgrade", "head")
    assert tree.applied == ["0001"]
