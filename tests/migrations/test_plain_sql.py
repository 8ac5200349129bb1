"""What `apply` reads in the text of statements: the database says what each of them loses."""

import json
import random
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, make_url

from tests.migrations.support import Project

pytestmark = pytest.mark.slow  # each applies revisions

TABLES = {
    "users": "id INTEGER PRIMARY KEY, name VARCHAR(20), age INTEGER",
    "posts": "id INTEGER PRIMARY KEY, body VARCHAR(20), user_id INTEGER",
}
EVERYWHERE = (
    "DROP TABLE posts",
    "DROP TABLE IF EXISTS /* both? */ posts -- and users",
    "DELETE /* all of them */ FROM posts",
    "/* first; */ DELETE FROM users WHERE id = 101",
    "-- DELETE FROM users;\nDELETE FROM posts WHERE id = 112",
    "ALTER TABLE users DROP COLUMN age",
    "ALTER TABLE users DROP age",
    ("ALTER TABLE users RENAME TO people", "ALTER TABLE people DROP COLUMN name"),
    ("ALTER TABLE users RENAME COLUMN age TO years", "ALTER TABLE users DROP COLUMN years"),
    "INSERT INTO posts VALUES (9, '; DROP TABLE users', 1)",
    "INSERT INTO posts VALUES (9, 'it''s; DELETE FROM u', 1)",
    "UPDATE posts SET body = 'DELETE FROM posts;' WHERE id = 111",
    "UPDATE users SET age = 3, name = 'DROP'",
    "CREATE TABLE more (id INTEGER PRIMARY KEY, x INTEGER REFERENCES users (id) ON DELETE CASCADE)",
    "CREATE VIEW young AS SELECT id, '; DROP TABLE posts' AS x FROM users",
)
WITHOUT_CASE = ("DELETE FROM Posts", "alter table Users drop column AGE")
POSTGRESQL = (
    *WITHOUT_CASE,
    "DROP TABLE users, posts CASCADE",
    "TRUNCATE users, posts",
    "TRUNCATE TABLE ONLY public.users RESTART IDENTITY",
    "SELECT 1; DELETE FROM posts",
    ("CREATE SCHEMA app", "ALTER TABLE users SET SCHEMA app", "DROP SCHEMA app CASCADE"),
    ("CREATE DOMAIN d AS int", "ALTER TABLE users ALTER age TYPE d", "DROP DOMAIN d CASCADE"),
    "WITH old AS (DELETE FROM users RETURNING id) SELECT id FROM old",
    "WITH new AS (INSERT INTO posts VALUES (8, 'x', 1) RETURNING id), old AS (DELETE FROM users)"
    " SELECT 1",
    "EXPLAIN (ANALYZE) DELETE FROM posts",
    "MERGE INTO users USING posts ON posts.user_id = users.id WHEN MATCHED THEN DELETE",
    "DO $$ BEGIN DELETE FROM users; END $$",
    "DO $all$ BEGIN IF true THEN TRUNCATE posts; END IF; END $all$",
    "DO $$ BEGIN EXECUTE 'DROP TABLE posts'; END $$",
    "DO $$ DECLARE t text := 'posts'; BEGIN EXECUTE 'DROP TABLE ' || t; END $$",
    "DO $$ DECLARE t text := 'posts'; BEGIN EXECUTE format('TRUNCATE %I', t); END $$",
    "DO $$ DECLARE t text := 'users'; BEGIN"
    " EXECUTE format('ALTER TABLE %I DROP COLUMN age', t); END $$",
    "ALTER TABLE users ALTER age DROP NOT NULL, DROP COLUMN IF EXISTS name",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS"
    " $f$ BEGIN DELETE FROM users; DROP TABLE posts; END $f$",
    "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC DELETE FROM users; DELETE FROM posts; END",
    "CREATE RULE r AS ON DELETE TO users DO INSTEAD DELETE FROM posts",
    "COMMENT ON TABLE users IS 'x; DELETE FROM posts'",
    "DO $$ BEGIN RAISE NOTICE 'DROP TABLE users'; END $$",
    "INSERT INTO users VALUES (101, 'x', 2) ON CONFLICT (id) DO UPDATE SET age = excluded.age",
    "SELECT * FROM users FOR UPDATE",
    "GRANT SELECT, DELETE ON users TO public",
    "ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO public",
    "INSERT INTO posts VALUES (9, E'it\\'s; DROP TABLE u', 1)",
)
SQLITE = (
    *WITHOUT_CASE,
    "UPDATE OR REPLACE users SET age = 3",
    "INSERT OR REPLACE INTO users VALUES (101, 'x', 2)",
    "REPLACE INTO users VALUES (101, 'x', 2)",
    "DELETE FROM [users] WHERE name = 'a;b'",
    "ALTER TABLE `users` DROP COLUMN [age]",
    "CREATE TRIGGER t AFTER INSERT ON users BEGIN UPDATE posts SET body = CASE WHEN 1 THEN 'x' END;"
    " DELETE FROM posts; END",
)
MARIADB_AND_MYSQL = (
    "DROP TABLES users, posts",
    "TRUNCATE posts",
    "DELETE LOW_PRIORITY FROM posts",
    "DELETE posts FROM posts JOIN users ON users.id = posts.user_id",
    "DELETE p, u FROM posts AS p JOIN users u ON u.id = p.user_id",
    "DELETE p.* FROM posts p",
    "DELETE FROM p USING posts AS p JOIN users ON users.id = p.user_id",
    ("RENAME TABLE users TO u, posts TO p", "ALTER TABLE u DROP COLUMN age"),
    "REPLACE users VALUES (101, 'x', 2)",
    "INSERT INTO users VALUES (101, 'x', 2) ON DUPLICATE KEY UPDATE age = 3",
    "/*!50001 DROP TABLE posts */",
    "# DROP TABLE posts\nSELECT 'it\\'s; DROP TABLE users'",
    "SELECT TRUNCATE(age, 0), REPLACE(name, 'a', 'b'), INSERT(name, 1, 1, 'x') FROM users",
    "UPDATE users JOIN posts ON posts.user_id = users.id SET users.age = 3",
    "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW BEGIN IF 1 THEN DELETE FROM posts; END IF;"
    " DELETE FROM posts; END",
)


WORDS = (
    "ALTER TABLE users RENAME TO COLUMN DROP ADD CONSTRAINT CHECK UNIQUE PRIMARY KEY FOREIGN"
    " REFERENCES INDEX CREATE ON DELETE FROM UPDATE SET INSERT INTO REPLACE MERGE USING WHEN THEN"
    " TRUNCATE DO EXECUTE CASCADE SCHEMA TYPE ATTRIBUTE MODIFY CHANGE NOT NULL VALID WITH AS SELECT"
    " BEGIN END CASE IF EXISTS ONLY OR IGNORE age `name` [id] 'x;DROP' $$y;DELETE$$ ( ) , . ; = * "
    "# 1 -- /* */ \" ' PARTITION FUNCTION TRIGGER DEFAULT COLLATE WHERE"
).split()


def cases() -> list[Any]:
    own = {
        "postgresql": POSTGRESQL,
        "sqlite": SQLITE,
        "mariadb": (*MARIADB_AND_MYSQL, "ALTER IGNORE TABLE users ADD UNIQUE KEY (name)"),
        "mysql": MARIADB_AND_MYSQL,
    }
    return [
        pytest.param(engine, sql, id=f"{engine}-{sql if isinstance(sql, str) else sql[-1]}"[:60])
        for engine, some in own.items()
        for sql in (*EVERYWHERE, *some)
    ]


def rows(project: Project) -> dict[int, int]:
    """How many values each row has, by its key, in whatever table."""
    url = make_url(project.url)
    drivers = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
    engine = create_engine(url.set(drivername=drivers.get(url.get_backend_name(), "mysql+pymysql")))
    with engine.connect() as connection:
        columns = {
            name: list(found)
            for (_, name), found in inspect(connection).get_multi_columns().items()
        }
        found = {
            key: len(columns[table])
            for table in columns
            if "id" in {column["name"] for column in columns[table]}
            for (key,) in connection.exec_driver_sql(f"SELECT id FROM {table}")
        }
    engine.dispose()
    return found


@pytest.mark.parametrize(("project", "sql"), cases(), indirect=["project"])
def test_what_a_statement_loses_is_told(
    project: Project, sql: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(1, *(f"op.execute('CREATE TABLE {t} ({c})')" for t, c in TABLES.items()))
    assert project.orm("apply", "--remote", "--yes").exit_code == 0
    keys = {"users": (101, 102), "posts": (111, 112)}
    for key in keys["users"]:
        project.query(f"INSERT INTO users VALUES ({key}, 'a;b', {key})")
    for key in keys["posts"]:
        project.query(f"INSERT INTO posts VALUES ({key}, 'x', {key - 10})")
    before = rows(project)

    statements = (sql,) if isinstance(sql, str) else sql
    project.revision(2, *(f"op.execute({statement!r})" for statement in statements))
    review = json.loads(project.orm("apply", "--remote", "--dry-run", "--json").stdout)["review"]
    done = project.orm("apply", "--remote", "--yes", "--allow-data-loss")
    assert done.exit_code == 0, done.output

    after = rows(project)
    lost = {key for key, values in before.items() if after.get(key, 0) < values}
    told = {one["table"] for one in review if one["loses_data"]}
    assert bool(told) == bool(lost), review
    assert told in ({""}, {table for table in keys if not lost.isdisjoint(keys[table])})


@pytest.mark.parametrize("project", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_whatever_stands_in_a_string_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the database was asked, every string of the file may be a statement, or part of one."""
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(1, *(f"op.execute('CREATE TABLE {t} ({c})')" for t, c in TABLES.items()))
    assert project.orm("apply", "--remote", "--yes").exit_code == 0
    draw = random.Random(7)
    begins = ("", "", "ALTER TABLE users", "CREATE UNIQUE INDEX", "DELETE", "MERGE INTO users")
    texts = [
        " ".join([draw.choice(begins), *draw.choices(WORDS, k=draw.randint(0, 9))])
        for _ in range(3000)
    ]
    asks = "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()"
    project.revision(2, asks, *(f"len({text!r})" for text in texts))
    done = project.orm("apply", "--remote", "--dry-run", "--json")
    assert done.exit_code == 0, (done.output[-500:], done.exception)
    assert json.loads(done.stdout)["review"][0]["kind"] == "unknown"
