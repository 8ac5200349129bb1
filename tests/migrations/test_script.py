"""A shown script does on SQLite with foreign keys on what `apply` does."""

import os
import random
from textwrap import dedent

import pytest

from tests.migrations.scripts import compare_with_apply
from tests.migrations.support import Project

ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION")


TREE = """
CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, email VARCHAR, nick VARCHAR,
    CONSTRAINT uq UNIQUE (email));
CREATE TABLE posts (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER REFERENCES users (id) ON DELETE {0} ON UPDATE {0});
CREATE TABLE comments (a INTEGER, "odd ""name" TEXT, twice INTEGER AS (a * 2),
    post_id INTEGER REFERENCES posts (id) ON DELETE {0});
CREATE TABLE likes (
    user_email VARCHAR REFERENCES users (email) ON DELETE {0} ON UPDATE {0},
    n INTEGER, PRIMARY KEY (user_email, n)) WITHOUT ROWID;
CREATE TABLE log (line TEXT);
CREATE INDEX ix_posts_user_id ON posts (user_id);
CREATE TRIGGER t1 AFTER DELETE ON posts BEGIN INSERT INTO log VALUES ('gone'); END;
CREATE TRIGGER t2 AFTER INSERT ON comments BEGIN INSERT INTO log VALUES ('new'); END;
CREATE TRIGGER t3 AFTER UPDATE ON users BEGIN INSERT INTO log SELECT nick FROM users; END;
CREATE VIEW v AS SELECT users.nick, posts.id FROM users JOIN posts ON user_id = users.id
"""

REVISIONS = {
    "nothing": "pass",
    "a rebuild": """
        with op.batch_alter_table('users') as batch:
            batch.alter_column('email', nullable=True, type_=sa.String(40))""",
    "two rebuilds": """
        with op.batch_alter_table('posts') as batch:
            batch.add_column(sa.Column('x', sa.String, server_default="it's ?"))
        with op.batch_alter_table('users') as batch:
            batch.alter_column('email', new_column_name='address')""",
    "a renamed key": """
        with op.batch_alter_table('users') as batch:
            batch.alter_column('id', new_column_name='number')""",
    "a rebuild in plain SQL": """
        op.execute('DROP VIEW v')
        op.execute('CREATE TABLE new (id INTEGER PRIMARY KEY, email UNIQUE)')
        op.execute('INSERT INTO new SELECT id, email FROM users')
        op.execute('DROP TABLE users')
        op.execute('ALTER TABLE new RENAME TO users')""",
    "its key comes later": """
        op.execute('DROP VIEW v')
        op.execute('CREATE TABLE new (id INTEGER PRIMARY KEY, email)')
        op.execute('INSERT INTO new SELECT id, email FROM users')
        op.execute('DROP TABLE users')
        op.execute('ALTER TABLE new RENAME TO users')
        op.execute('CREATE UNIQUE INDEX uq_email ON users (email)')""",
    "parent and reference removed": """
        op.execute('DROP VIEW v')
        op.drop_table('users')
        op.drop_table('likes')
        op.execute('CREATE TABLE new (id INTEGER PRIMARY KEY, user_id INTEGER)')
        op.execute('INSERT INTO new SELECT id, user_id FROM posts')
        op.execute('DROP TABLE posts')
        op.execute('ALTER TABLE new RENAME TO posts')""",
    "all removed, parents first": """
        op.execute('DROP VIEW v')
        for table in ('users', 'posts', 'likes', 'comments'):
            op.drop_table(table)""",
    "delete": "op.execute('DELETE FROM users WHERE id > 3')",
    "delete, then move": """
        op.execute("INSERT OR IGNORE INTO users VALUES (3, 'three', '3')")
        op.execute('DELETE FROM users WHERE id > 3')
        op.execute('UPDATE posts SET user_id = 3 WHERE user_id > 3')
        op.execute("UPDATE likes SET user_email = 'three', n = n + 100 * rank FROM (SELECT"
                   " user_email AS e, n AS m, row_number() OVER () AS rank FROM likes) "
                   "WHERE e = user_email AND n = m")""",
    "delete those without children": """
        op.execute('DELETE FROM users WHERE id NOT IN (SELECT user_id FROM posts WHERE user_id > 0)'
                   ' AND email NOT IN (SELECT user_email FROM likes)')""",
    "another key": """
        op.execute('UPDATE users SET id = id + 100')
        op.execute('UPDATE posts SET user_id = user_id + 100')""",
    "another key alone": "op.execute('UPDATE users SET id = id + 100')",
    "replace": "op.execute(\"REPLACE INTO users VALUES (1, 'one', '1')\")",
    "children first": """
        op.execute("INSERT INTO posts VALUES (500, 900)")
        op.execute("INSERT INTO users VALUES (900, 'nine', NULL)")""",
    "values": """
        t = sa.table('comments', sa.column('a'), sa.column('odd "name'))
        op.bulk_insert(t, [{'a': 1, 'odd "name': "it's :x ? ; --"}, {'a': -5, 'odd "name': None}])
        op.execute(t.insert().values({'a': 2 ** 60, 'odd "name': 'NUL \\0 \\n'}))
        op.execute(t.insert().values({'a': 0.1 + 0.2, 'odd "name': float('inf')}))
        op.execute(t.insert().values({'a': b'\\x00\\xff', 'odd "name': -1.5e300}))
        op.execute(t.update().values(a=t.c.a - -1).where(t.c.a - sa.literal(-3) > 1))
        op.execute("INSERT INTO comments (a) VALUES (7) -- seven")""",
    "a column is added, filled and required": """
        op.add_column('posts', sa.Column('at', sa.DateTime))
        op.execute("UPDATE posts SET at = '2024-01-01 00:00:00.000000'")
        with op.batch_alter_table('posts') as batch:
            batch.alter_column('at', nullable=False)""",
    "through the connection": """
        names = [c['name'] for c in sa.inspect(op.get_bind()).get_columns('users')]
        op.get_bind().execute(sa.text(f"UPDATE users SET {names[-1]} = :v"), {'v': 'n'})""",
}


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_script_does_what_apply_does(project: Project, revision: str, action: str) -> None:
    statements = TREE.format(action).strip().split(";\n")
    project.revision(1, *(f"op.execute({statement!r})" for statement in statements))
    project.revision(2, *dedent(REVISIONS[revision]).strip().splitlines())
    compare_with_apply(project, ["0001", "0002"])


ODD = (
    """CREATE TABLE "Ä ""b'" (id INTEGER PRIMARY KEY, "select" TEXT)""",
    """CREATE UNIQUE INDEX "u q" ON "Ä ""b'" ("select")""",
    """CREATE TABLE Child ("a;--" TEXT REFERENCES "Ä ""b'" ("select") ON DELETE CASCADE,
        rowid TEXT, "Order" INTEGER REFERENCES "Ä ""b'" ON DELETE SET NULL)""",
    "CREATE TABLE _kept_child (a)",
    "CREATE VIRTUAL TABLE search USING fts5(words)",
)


def test_odd_names(project: Project) -> None:
    project.revision(1, *(f"op.execute({statement!r})" for statement in ODD[:4]))
    project.revision(
        2,
        """with op.batch_alter_table('Ä "b\\'', recreate='always') as batch:""",
        "    batch.add_column(sa.Column('Ö', sa.Integer))",
    )
    compare_with_apply(project, ["0001", "0002"])


def test_tables_of_a_module(project: Project) -> None:
    project.revision(1, f"op.execute({ODD[4]!r})")
    project.revision(2, "op.execute('DROP TABLE search')")
    for revision in ("0001", "0002"):
        assert project.orm("show", revision).exit_code == 0


def drawn(seed: int) -> tuple[list[str], list[str]]:
    """Tables that refer to each other and to themselves, and what a revision does to them."""
    draw = random.Random(seed)
    names = ["a", "b", "c", "d"][: draw.randint(2, 4)]
    tables = []
    for name in names:
        columns = ["k INTEGER NOT NULL PRIMARY KEY" + draw.choice(["", " AUTOINCREMENT"]), "t TEXT"]
        columns += [
            f"to_{parent} INTEGER REFERENCES {parent} (k)"
            f" ON DELETE {draw.choice(ACTIONS)} ON UPDATE {draw.choice(ACTIONS)}"
            for parent in names
            if draw.random() < 0.45
        ]
        tables.append(f"CREATE TABLE {name} ({', '.join(columns)})")
        if draw.random() < 0.4:
            tables.append(f"CREATE UNIQUE INDEX ix_{name} ON {name} (t, k)")
    tables.append("CREATE TABLE log (line TEXT)")
    for name in names:
        if draw.random() < 0.4:
            event = draw.choice(["INSERT", "DELETE", "UPDATE"])
            tables.append(
                f"CREATE TRIGGER on_{name} AFTER {event} ON {name} BEGIN "
                f"INSERT INTO log SELECT max(t) || '{name}' FROM {draw.choice(names)}; END"
            )
    changes = []
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(names)
        changes += draw.choice(
            [
                [
                    f"with op.batch_alter_table('{name}', recreate='always') as batch:",
                    f"    batch.add_column(sa.Column('n{len(changes)}', sa.Integer))",
                ],
                [
                    f"with op.batch_alter_table('{name}') as batch:",
                    f"    batch.alter_column('t', server_default='{draw.randint(0, 9)}')",
                ],
                [f"op.execute('DELETE FROM {name} WHERE k = {draw.randint(0, 9)}')"],
                [f"op.execute('UPDATE {name} SET k = k + 50 WHERE k = {draw.randint(0, 9)}')"],
                [f"op.execute('UPDATE {name} SET t = k')"],
            ]
        )
    return tables, changes


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORM_TEST_SCRIPTS", "12"))))
def test_whatever_refers_to_whatever(project: Project, seed: int) -> None:
    tables, changes = drawn(seed)
    project.revision(1, *(f"op.execute({statement!r})" for statement in tables))
    project.revision(2, *changes)
    compare_with_apply(project, ["0001", "0002"], seed)
