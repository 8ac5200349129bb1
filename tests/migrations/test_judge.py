"""From models A with rows to models B: `create` writes all of it, or names what it did not."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.migrations.support import ENGINES, Project

pytestmark = pytest.mark.slow  # each replays and applies revisions

MAIN = "from orm.cli import main; main()"
ID = 'Column("id", Integer, primary_key=True)'
USERS = f'Table("users", metadata, {ID}, Column("age", Integer, nullable=False){{}})'
AGE = ', CheckConstraint("age >= {}", "old")'
PARENT = USERS.format("")
CHILD = (
    f'Table("posts", metadata, {ID}, Column("age", Integer),'
    ' Column("user_id", ForeignKey("users.id"{}), index=True))'
)
MOOD = ', Column("mood", Enum({}, name="Mood", native_enum=True), server_default="good")'
IX = ', Index("ix_part", "age", sqlite_where={0}, postgresql_where={0})'
OLD = ', Column("Old", Boolean)'
IX_OLD = (
    'old = metadata.tables["users"].c.Old\n'
    'Index("ix_old", "age", sqlite_where=old, postgresql_where=old, _table=old.table)'
)
COLLATION = (
    'collated = String(9, collation="C").with_variant(String(9, collation="NOCASE"), "sqlite")'
)
NAMED = ', Column("n", {})'
TWICE = ', Column("twice", Integer, Computed("age * {}", persisted=True))'

WRITTEN = {
    "check added": (USERS.format(""), USERS.format(AGE.format(0))),
    "check changed": (USERS.format(AGE.format(0)), USERS.format(AGE.format(1))),
    "check dropped": (USERS.format(AGE.format(0)), USERS.format("")),
    "check of a dropped column": (
        USERS.format(', Column("x", Integer), CheckConstraint("x > 0", "x")'),
        USERS.format(""),
    ),
    "check in a new column": (
        USERS.format(""),
        USERS.format(', Column("x", Integer, CheckConstraint("x > 0", "x"))'),
    ),
    "check in a column of a new table": (
        PARENT,
        f"{PARENT}\n"
        f'Table("t", metadata, {ID}, Column("x", Integer, CheckConstraint("x > 0", "x")))',
    ),
    "index condition": (
        USERS.format(IX.format('text("age > 1")')),
        USERS.format(IX.format('text("age > 2")')),
    ),
    "index condition that is a column": (USERS.format(OLD), f"{USERS.format(OLD)}\n{IX_OLD}"),
    "index on an expression": (
        USERS.format(""),
        USERS.format(', Index("ix_sum", text("(age + 1)"))'),
    ),
    "index order": (
        USERS.format(', Index("ix_a", "age")'),
        USERS.format(', Index("ix_a", text("age DESC"))'),
    ),
    "cascade added": (
        f"{PARENT}\n{CHILD.format('')}",
        f"{PARENT}\n{CHILD.format(', ondelete=' + repr('CASCADE'))}",
    ),
    "cascade taken off": (
        f"{PARENT}\n{CHILD.format(', ondelete=' + repr('CASCADE'))}",
        f"{PARENT}\n{CHILD.format('')}",
    ),
    "default": (
        USERS.format(""),
        USERS.format(', Column("at", DateTime, server_default=func.now())'),
    ),
    "an enum as a new column": (
        USERS.format(""),
        USERS.format(MOOD.format("'good', 'bad'")),
    ),
    "an enum of a new table and a new column": (
        USERS.format(""),
        f"""{USERS.format(MOOD.format("'good', 'bad'"))}\nmood = Enum("a", name="of_new")\n"""
        f'Table("t", metadata, {ID}, Column("mood", mood))',
    ),
    "default with a quote": (
        USERS.format(""),
        USERS.format(', Column("n", String(9), server_default="it\'s")'),
    ),
    "an empty default": (
        USERS.format(', Column("n", String(9))'),
        USERS.format(', Column("n", String(9), server_default="")'),
    ),
    "deferrable": (
        f"{PARENT}\n{CHILD.format('')}",
        f"{PARENT}\n{CHILD.format(', deferrable=True, initially=' + repr('DEFERRED'))}",
    ),
    "a unique constraint renamed": (
        USERS.format(', UniqueConstraint("age", name="one")'),
        USERS.format(', UniqueConstraint("age", name="two")'),
    ),
    "checks of several tables": (
        USERS.format(AGE.format(0))
        + f'\nTable("t", metadata, {ID}, CheckConstraint("id > 0", "a"))',
        USERS.format(', Column("x", Integer)') + f'\nTable("t", metadata, {ID})',
    ),
    "a column with a CHECK and an index renewed": (
        USERS.format(', Column("x", Integer, index=True), CheckConstraint("x > age", "x")'),
        USERS.format(', Column("y", BigInteger, index=True), CheckConstraint("y > age", "y")'),
    ),
    "parents and children dropped": (
        f"{PARENT}\n{CHILD.format('')}\n"
        f'Table("end", metadata, {ID}, Column("p", ForeignKey("posts.id")))',
        "",
    ),
    "primary key": (
        f'Table("users", metadata, {ID}, Column("age", Integer, nullable=False))',
        'Table("users", metadata, Column("id", Integer, primary_key=True, autoincrement=False),'
        ' Column("age", Integer, primary_key=True))',
    ),
    "options of keys": (
        PARENT,
        'Table("users", metadata, Column("id", Integer, autoincrement=False),'
        ' Column("age", Integer, nullable=False),'
        ' PrimaryKeyConstraint("id", sqlite_on_conflict="REPLACE"))\n'
        'Table("t", metadata, Column("id", Integer), Column("x", Integer),'
        ' PrimaryKeyConstraint("id", "x", name="k", sqlite_on_conflict="IGNORE"))',
    ),
    "columns with keys of their own": (
        USERS.format(NAMED.format('String(9), key="x"')),
        USERS.format(
            NAMED.format('String(5), key="y", server_default="a", index=True')
            + ', Column("m", Integer, CheckConstraint("m > 0", "m"), key="z")'
        ),
    ),
    "generated expression": (USERS.format(TWICE.format(2)), USERS.format(TWICE.format(3))),
    "collation": (
        f"{COLLATION}\n{USERS.format(NAMED.format('String(9)'))}",
        f"{COLLATION}\n{USERS.format(NAMED.format('collated'))}",
    ),
}


def created(project: Project, *arguments: str) -> Any:
    result = project.orm("create", "--json", *arguments)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, json.loads(result.stdout or "null"), result.stderr


def begun(project: Project, models: str) -> None:
    """The first models are applied, and there is a row of a user."""
    project.models(models)
    assert created(project, "start")[0] == 0
    project.upgrade("orm")
    if "users" in models:
        project.query("INSERT INTO users (id, age) VALUES (1, 42)")


@ENGINES
@pytest.mark.parametrize("models", WRITTEN.values(), ids=WRITTEN.keys())
def test_it_is_written(project: Project, models: tuple[str, str]) -> None:
    old, new = models
    begun(project, old)
    project.models(new)
    code, made, said = created(project, "more")
    assert code == 0, said
    assert made["left"] == []
    project.upgrade("orm")
    if new:
        assert project.query("SELECT id, age FROM users") == [(1, 42)]
    problems = json.loads(project.orm("check", "--local", "--json").stdout)
    assert [p for p in problems if p["kind"] != "foreign_key"] == []
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_comments(project: Project) -> None:
    begun(project, USERS.format(', Column("n", String(9), comment="a")'))
    project.models(USERS.format(', Column("n", String(9), comment="b"), comment="c"'))
    told = project.orm("check").stderr
    assert "column users.n" in told
    assert "table users" in told
    assert created(project, "comments")[0] == 0
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_a_label_of_an_enum(project: Project) -> None:
    begun(project, USERS.format(MOOD.format("'good', 'bad'")))
    project.models(USERS.format(MOOD.format("'best', 'good', \"it's\", 'bad'")))
    assert created(project, "labels")[0] == 0
    project.upgrade("orm")
    assert project.query('SELECT enum_range(NULL::"Mood")::text') == [("{best,good,it's,bad}",)]
    assert project.query("SELECT mood::text FROM users") == [("good",)]
    assert created(project, "again")[1] is None
    project.models(USERS.format(MOOD.format("'good', 'bad'")))
    assert created(project, "back")[0] == 0
    project.upgrade("orm")
    assert project.query('SELECT enum_range(NULL::"Mood")::text') == [("{good,bad}",)]
    assert project.query("SELECT mood::text FROM users") == [("good",)]


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
@pytest.mark.parametrize("array", [False, True])
def test_a_label_that_rows_have_is_not_removed(project: Project, array: bool) -> None:
    enum = 'Enum({}, name="Mood")'
    kind = f"dialects.postgresql.ARRAY({enum})" if array else enum
    models = f"from sqlalchemy import dialects\n{USERS}".format(f', Column("label", {kind})')
    begun(project, models.format("'good', 'so so', \"it's\", 'bad'"))
    for at, label in enumerate(("good", "so so", "it's", "it's")):
        value = f'{{"{label}","{label}"}}' if array else label
        project.query("INSERT INTO users (id, age, label) VALUES (?, 3, ?)", 10 + at, value)
    project.models(models.format("'good', 'new', 'bad'"))
    code, made, said = created(project, "labels")
    assert code == 0, said
    assert "takes 'so so', \"it's\" from the enum of users.label" in made["effects"][0]["message"]
    assert "ADD VALUE" not in Path(made["path"]).read_text()  # all of it is one transaction
    said = project.refusal("orm")
    assert "users.label cannot lose labels that rows have: " in said
    assert "'so so' in 1 row(s)" in said
    assert "'it''s' in 2 row(s)" in said
    if array:
        assert "WHERE 'so so' = ANY (label) OR 'it''s' = ANY (label)" in said
    else:
        assert "UPDATE users SET label = … WHERE label IN ('so so', 'it''s')" in said
    project.query("DELETE FROM users WHERE id > 10")
    project.upgrade("orm")
    assert project.query("""SELECT enum_range(NULL::"Mood")::text""") == [("{good,new,bad}",)]
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("stays", [False, True])
def test_what_is_said_of_such_a_label_works(project: Project, array: bool, stays: bool) -> None:
    """Whether its rows get a label that stays, or one that is new: an UPDATE cannot set that."""
    enum = 'Enum({}, name="feeling")'
    kind = f"dialects.postgresql.ARRAY({enum})" if array else enum
    models = f"from sqlalchemy import dialects\n{USERS}".format(f', Column("feels", {kind})')
    begun(project, models.format("'good', 'so so', 'bad'"))
    value = '{"so so","good"}' if array else "so so"
    project.query("INSERT INTO users (id, age, feels) VALUES (10, 3, ?)", value)
    project.models(models.format("'good', 'new'"))
    file = Path(created(project, "labels")[1]["path"])
    said = project.refusal("orm")
    text = file.read_text()
    guard = re.search(r'        op\.execute\(\n +"DO \$guard\$.*?\n        \)\n', text, re.DOTALL)
    assert guard is not None
    if stays:
        advised = re.search(r"this statement: (UPDATE .*?)\. To make", said)
        assert advised is not None
        update = f"        op.execute({advised[1].replace('…', repr('good'))!r})\n"
        text = text.replace(guard[0], update + guard[0])
    else:
        advised = re.search(r"the next one say (.*) in the place of its (.*?)[\n]", said)
        assert advised is not None
        before, after = text.split(guard[0])
        assert after.count(advised[2]) == 1
        altered = after.replace(advised[2], advised[1])
        text = before + re.sub(r"'(ALTER TABLE users .* TYPE .*)'", r'"\1"', altered)
    file.write_text(text)
    project.upgrade("orm")
    is_now = {(True, True): "{good,good}", (True, False): "{new,good}", (False, True): "good"}
    wanted = is_now.get((array, stays), "new")
    assert project.query("SELECT feels::text FROM users WHERE id = 10") == [(wanted,)]
    assert created(project, "again")[1] is None


CONCURRENTLY = (
    ', Index("ix_it", {}, postgresql_concurrently=True, postgresql_where=text("age > 0"))'
)


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_an_index_is_made_without_a_lock_where_the_models_say_so(project: Project) -> None:
    begun(project, PARENT)
    project.models(USERS.format(CONCURRENTLY.format('"age"')))
    code, made, said = created(project, "index")
    assert code == 0, said
    text = Path(made["path"]).read_text()
    assert "autocommit_block():" in text
    assert "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_it ON users (age) WHERE age > 0" in text
    project.upgrade("orm")
    project.query("SELECT 'ix_it'::regclass")
    assert created(project, "again")[1] is None
    assert project.orm("check", "--local").exit_code == 0


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_an_index_that_changes_is_made_anew_without_a_lock(project: Project) -> None:
    begun(project, USERS.format(CONCURRENTLY.format('"id"')))
    project.models(USERS.format(CONCURRENTLY.format('"age"')))
    code, made, said = created(project, "index")
    assert code == 0, said
    lines = Path(made["path"]).read_text().splitlines()
    [drop] = [n for n, line in enumerate(lines) if "DROP INDEX CONCURRENTLY IF EXISTS" in line]
    assert (
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_it ON users (age)"
        in lines[drop + 1] + lines[drop + 2]
    )
    assert "batch_alter_table" not in "".join(lines)
    project.upgrade("orm")
    assert (
        "(age)" in project.query("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_it'")[0][0]
    )
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    ["CREATE INDEX CONCURRENTLY i ON users (age)", "DROP INDEX CONCURRENTLY ix_it", "VACUUM users"],
)
def test_what_runs_in_no_transaction_goes_into_a_block(project: Project, statement: str) -> None:
    begun(project, USERS.format(CONCURRENTLY.format('"age"')))
    line = f"op.execute({statement!r})"
    if statement.startswith("DROP"):
        line = "op.drop_index('ix_it', 'users', postgresql_concurrently=True)"
    project.revision(2, line)
    for said in (project.orm("check").stderr, project.refusal("orm")):
        assert f"{' '.join(statement.split()[:1])}" in said
        assert "cannot run inside a transaction block" in said
        assert "runs in no transaction: with op.get_context().autocommit_block():" in said
    project.revision(2, "with op.get_context().autocommit_block():", f"    {line}")
    assert project.orm("show", "0002").exit_code == 0
    project.upgrade("orm")


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
@pytest.mark.parametrize("is_new", [False, True])
def test_an_index_on_what_is_new_is_made_with_it(project: Project, is_new: bool) -> None:
    project.models("" if is_new else PARENT)
    if not is_new:
        begun(project, PARENT)
    project.models(USERS.format(', Column("n", Integer)' + CONCURRENTLY.format('"n"')))
    code, made, said = created(project, "index")
    assert code == 0, said
    assert "autocommit_block" not in Path(made["path"]).read_text()
    project.upgrade("orm")
    project.query("SELECT 'ix_it'::regclass")
    assert created(project, "again")[1] is None


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_an_index_on_a_renamed_column_follows_it(project: Project) -> None:
    begun(project, PARENT)
    renamed = PARENT.replace('"age"', '"years"')
    index = CONCURRENTLY.replace("age", "years").format('"years"')
    project.models(f"{renamed[:-1]}{index})")
    code, _, said = created(project, "index", "--rename", "users.age:years")
    assert code == 0, said
    project.upgrade("orm")
    project.query("SELECT 'ix_it'::regclass")
    assert created(project, "again")[1] is None


@ENGINES
def test_what_a_new_constraint_refuses_is_named(project: Project) -> None:
    begun(project, PARENT)
    project.models(
        USERS.format(
            ', UniqueConstraint("age", name="once"), CheckConstraint("age > 0", "old"),'
            ' Column("user_id", ForeignKey("users.id"), index=True)'
        )
    )
    code, made, said = created(project, "constraints")
    assert code == 0, said
    messages = [one["message"] for one in made["effects"]]
    assert len(messages) == 2  # no row breaks the key of a new column
    assert all("adds a constraint to users: it fails if a row breaks it" in m for m in messages)
    assert "it fails if a row breaks it" in Path(made["path"]).read_text()


BY_HAND = {
    "PRIMARY KEY": ("CREATE TABLE users (id INTEGER NOT NULL, age INTEGER NOT NULL)", "constraint"),
    "NOT NULL": ("CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER)", "column users.age"),
    "a default": (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER NOT NULL DEFAULT 3)",
        "column users.age",
    ),
    "UNIQUE": (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER NOT NULL UNIQUE)",
        "constraint",
    ),
}


@ENGINES
@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND.keys())
def test_a_revision_by_hand_that_lacks_something(project: Project, case: tuple[str, str]) -> None:
    sql, subject = case
    project.models(
        USERS.format("").replace("primary_key=True", "primary_key=True, autoincrement=False")
    )
    project.revision(1, f"op.execute({sql!r})")
    found = json.loads(project.orm("check", "--json").stdout)
    assert any(subject in problem["subject"] for problem in found), found


SAME = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER NULL DEFAULT (0),"
    " at TIMESTAMP DEFAULT (CURRENT_TIMESTAMP), CONSTRAINT old CHECK ((age >= 0)))",
    "CREATE TABLE posts (user_id INTEGER REFERENCES users (id) ON DELETE NO ACTION,"
    " id INTEGER NOT NULL, CONSTRAINT key PRIMARY KEY (id))",
    "CREATE INDEX ix_posts_user_id ON posts (user_id ASC)",
)


@ENGINES
def test_what_differs_in_text_only_is_no_difference(project: Project) -> None:
    project.revision(1, *(f"op.execute({sql!r})" for sql in SAME))
    only_text = "Column({!r}, Integer, primary_key=True, autoincrement=False)".format("id")
    project.models(
        f'Table("posts", metadata, {only_text},'
        ' Column("user_id", ForeignKey("users.id"), index=True))\n'
        f'Table("users", metadata, {only_text}, Column("at", TIMESTAMP,'
        ' server_default=text("CURRENT_TIMESTAMP")), Column("age", Integer, server_default="0"),'
        ' CheckConstraint("age >= 0", quoted_name("ck_users_old", None)))'.replace(
            'quoted_name("ck_users_old", None)', '"old"'
        )
    )
    (project.folder / "alembic/versions/0001_by_hand.py").write_text(
        (project.folder / "alembic/versions/0001_by_hand.py")
        .read_text()
        .replace("CONSTRAINT old", "CONSTRAINT ck_users_old")
    )
    result = project.orm("check")
    assert result.exit_code == 0, result.stderr
    assert created(project, "nothing")[1] is None


@ENGINES
def test_a_file_that_does_not_run_stays_and_is_named(project: Project) -> None:
    template = project.folder / "alembic" / "script.py.mako"
    template.write_text(template.read_text() + "    nonsense()\n")
    project.models(USERS.format(""))
    code, _, said = created(project, "start")
    assert code == 1
    assert "0001_start.py" in said
    assert "does not run" in said
    assert project.revisions == ["0001_start.py"]


def test_a_refused_rebuild_is_named_by_its_file(project: Project) -> None:
    """And no other engine is blamed for it."""
    sql = "CREATE TABLE users (id INTEGER PRIMARY KEY, x INTEGER, age INTEGER, CHECK (x > age))"
    project.revision(1, f"op.execute({sql!r})")
    project.revision(
        2, "with op.batch_alter_table('users') as batch:", "    batch.drop_column('x')"
    )
    for command in (["check"], ["create", "more"]):
        said = project.orm(*command).stderr
        assert "0002_by_hand.py" in said
        assert "in line " in said
        assert "would lose CHECK" in said
        assert "one engine" not in said


def test_a_rename_of_nothing_is_refused(project: Project) -> None:
    result = project.orm("create", "more", "--rename", "users.a:b")
    assert result.exit_code != 0
    assert "there are none" in result.stderr


@ENGINES
def test_the_same_file_whatever_the_hash(project: Project) -> None:
    tables = [f'Table("t{n}", metadata, {ID}, Column("a", Integer, index=True))' for n in range(8)]
    column = 'Column("b", ForeignKey("t0.id"), index=True)'
    more = f'\nTable("t9", metadata, {column}, UniqueConstraint("b"))'
    going = "".join(f', Column("go{n}", ForeignKey("t{n}.id"))' for n in range(4))
    kept = f'\nTable("kept", metadata, {ID}, Column("a", Integer), Column("b", Integer)'
    project.models("\n".join(tables) + more + kept + going + ")")
    assert created(project, "start")[0] == 0
    coming = "".join(f', ForeignKeyConstraint(["{at}"], ["t5.id"])' for at in "ab")
    project.models(tables[5] + kept + coming + ")")
    texts = []
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "migrations", "create", "drop", "--no-rename"],
            cwd=project.folder,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        file = project.file("0002_drop.py")
        texts.append(file.read_text())
        file.unlink()
    assert [text[text.index("import") :] for text in texts] == [
        texts[0][texts[0].index("import") :]
    ] * 3


@pytest.mark.parametrize(
    "project", ["sqlite", "postgresql", "asyncpg", "mariadb", "mysql"], indirect=True
)
def test_a_percent_sign_is_one(project: Project) -> None:
    """Drivers that have it for parameters want two, where there are any."""
    project.models(
        'Table("t", metadata, Column("id", Integer, primary_key=True),'
        ' Column("a", String(30), server_default="50 %"), CheckConstraint("a <> \'%\'", name="c"))'
    )
    code, made, _ = created(project, "start")
    assert code == 0, made
    project.upgrade("orm")
    assert project.orm("check", "--local").exit_code == 0
    assert "50 %'" in Path(made["path"]).read_text()
