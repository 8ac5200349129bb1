import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from orm.testing.postgresql import Cluster
from tests.migrations.support import ENGINES, Project

pytestmark = pytest.mark.slow  # each applies revisions

USERS = (
    "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('email', sa.String(20)), sa.Column('age', sa.Integer))"
)
BATCH = "with op.batch_alter_table('users') as batch: "
ORM = "from orm.cli import main; main()"
LOSING = f"{BATCH}batch.drop_column('email')"


@pytest.fixture
def remote(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose remote database is at 0001, with three users, one without an age."""
    monkeypatch.setenv("ORM_REMOTE_URL", project.url)
    project.revision(1, USERS)
    assert project.orm("apply", "--remote", "--yes").exit_code == 0
    project.query("INSERT INTO users (email, age) VALUES ('a', 1), ('b', 2), (NULL, NULL)")
    return project


def reviewed(project: Project) -> list[tuple[str, str, str | None, int | None, bool]]:
    result = project.orm("apply", "--remote", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    return [
        (one["kind"], one["table"], one["column"], one["rows"], one["loses_data"])
        for one in json.loads(result.stdout)["review"]
    ]


@ENGINES
@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("op.drop_table('users')", ("drop_table", "users", None, 3, True)),
        (LOSING, ("drop_column", "users", "email", 2, True)),
        ("op.drop_column('users', 'email')", ("drop_column", "users", "email", 2, True)),
        (
            "op.execute('ALTER TABLE users DROP COLUMN email')",
            ("drop_column", "users", "email", 2, True),
        ),
        ("op.execute('DROP TABLE users')", ("drop_table", "users", None, 3, True)),
        (
            "op.get_bind().exec_driver_sql('DROP TABLE users')",
            ("drop_table", "users", None, 3, True),
        ),
        (
            "op.execute(sa.schema.DropTable(sa.Table('users', sa.MetaData())))",
            ("drop_table", "users", None, 3, True),
        ),
        ("op.execute(sa.DDL('DROP TABLE users'))", ("drop_table", "users", None, 3, True)),
        ("op.execute('DELETE FROM users')", ("delete", "users", None, 3, True)),
        (
            "op.execute(sa.update(sa.table('users', sa.column('age'))).values(age=1))",
            ("update", "users", None, 3, False),
        ),
        ("op.execute(sa.delete(sa.table('users')))", ("delete", "users", None, 3, True)),
        (
            f"{BATCH}batch.alter_column('age', nullable=False)",
            ("not_null", "users", "age", 1, False),
        ),
        (
            f"{BATCH}batch.alter_column('email', type_=sa.String(5))",
            ("type", "users", "email", 2, True),
        ),
        (
            f"{BATCH}batch.alter_column('email', new_column_name='mail')",
            ("rename", "users", "email", 3, False),
        ),
        ("op.rename_table('users', 'people')", ("rename", "users", None, 3, False)),
        (
            "op.add_column('users', sa.Column('x', sa.Integer, nullable=False))",
            ("required_column", "users", "x", 3, False),
        ),
        (
            f"{BATCH}batch.add_column(sa.Column('x', sa.Integer, nullable=False))",
            ("required_column", "users", "x", 3, False),
        ),
        (
            f"{BATCH}batch.create_unique_constraint('uq', ['email'])",
            ("constraint", "users", None, 3, False),
        ),
    ],
)
def test_effects_are_told_with_their_rows(
    remote: Project, line: str, effect: tuple[str, str, str | None, int, bool]
) -> None:
    remote.revision(2, line)
    assert reviewed(remote) == [effect]
    assert remote.applied == ["0001"]


@ENGINES
def test_a_changing_default_is_told_where_it_cannot_be(remote: Project) -> None:
    remote.revision(
        2, "op.add_column('users', sa.Column('x', sa.DateTime, server_default=sa.func.now()))"
    )
    told = [("changing_default", "users", "x", 3, False)]
    assert reviewed(remote) == (told if "sqlite" in remote.url else [])


@ENGINES
@pytest.mark.parametrize(
    "line",
    [
        "op.add_column('users', sa.Column('x', sa.Integer, nullable=False, server_default='1'))",
        "op.add_column('users', sa.Column('x', sa.Integer))",
        "op.create_index('ix', 'users', ['email'])",
        "op.create_table('new', sa.Column('id', sa.Integer)); op.drop_table('new')",
        f"{BATCH}batch.alter_column('age', server_default='1')",
    ],
)
def test_what_does_no_harm_is_not_told(remote: Project, line: str) -> None:
    remote.revision(2, line)
    assert reviewed(remote) == []


@ENGINES
def test_a_block_outside_of_transactions_is_seen_through(remote: Project) -> None:
    remote.revision(
        2,
        "with op.get_context().autocommit_block():",
        "    op.create_index('ix', 'users', ['email'], postgresql_concurrently=True)",
        "op.drop_column('users', 'age')",
    )
    assert reviewed(remote) == [("drop_column", "users", "age", 2, True)]


@ENGINES
def test_names_are_followed_over_revisions(remote: Project) -> None:
    remote.revision(2, "op.rename_table('users', 'people')")
    remote.revision(3, "op.create_table('users', sa.Column('email', sa.Integer))")
    remote.revision(4, "op.drop_column('people', 'email')", "op.drop_table('users')")
    assert reviewed(remote) == [
        ("rename", "users", None, 3, False),
        ("drop_column", "users", "email", 2, True),
    ]


@ENGINES
def test_an_empty_table_has_nothing_to_lose(remote: Project) -> None:
    remote.query("DELETE FROM users")
    remote.revision(2, "op.drop_table('users')")
    assert reviewed(remote) == [("drop_table", "users", None, 0, False)]
    assert remote.orm("apply", "--remote", "--yes").exit_code == 0


# Consent -----------------------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize(
    ("options", "answer", "applied"),
    [
        ([], "{name}\n", True),
        ([], "{path}\n", True),
        (["--yes", "--allow-data-loss"], "", True),
        ([], "yes\n", False),
        ([], "y\n", False),
        ([], "\n", False),
        ([], "", False),
        (["--yes"], "", False),
        (["--allow-data-loss"], "", False),
        (["--allow-data-loss"], "y\n", False),
    ],
)
def test_lost_data_wants_a_typed_yes(
    remote: Project, options: list[str], answer: str, applied: bool
) -> None:
    remote.revision(2, LOSING)
    path = str(make_url(remote.url).database)
    given = answer.format(name=Path(path).name, path=path)
    result = remote.orm("apply", "--remote", *options, input=given)
    assert (result.exit_code == 0) == applied
    assert remote.applied == ["0002" if applied else "0001"]
    assert "drops users.email and all its values (2 rows)" in result.stderr


@ENGINES
@pytest.mark.parametrize(("answer", "applied"), [("y\n", True), ("n\n", False), ("", False)])
def test_what_loses_nothing_wants_a_yes(remote: Project, answer: str, applied: bool) -> None:
    remote.revision(2, f"{BATCH}batch.alter_column('email', new_column_name='mail')")
    result = remote.orm("apply", "--remote", input=answer)
    assert (result.exit_code == 0) == applied
    assert remote.applied == ["0002" if applied else "0001"]


@ENGINES
@pytest.mark.parametrize("line", [LOSING, "pass"])
def test_a_closed_terminal_is_no(remote: Project, line: str) -> None:
    remote.revision(2, line)
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.close(0); {ORM}", "migrations", "apply", "--remote"],
        cwd=remote.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    options = "--yes --allow-data-loss" if line == LOSING else "--yes"
    assert f"there is no terminal to answer at. Add {options} to do it" in done.stderr
    assert remote.applied == ["0001"]


@ENGINES
@pytest.mark.parametrize(
    "line",
    [
        "op.get_bind().execute(sa.text('SELECT 1 FROM users')).first()[0]",
        "sa.inspect(op.get_bind()).get_table_names()",
        "op.get_context().connection.execute(sa.text('SELECT 1')).scalar()",
        "list(op.get_bind().execute(sa.text('SELECT 1')))",
        "for row in op.get_bind().execute(sa.text('SELECT 1')): pass",
        "[row] = op.get_bind().execute(sa.text('SELECT 1'))",
        "with op.get_bind().begin_nested(): pass",
        "from sqlalchemy.orm import Session; Session(op.get_bind()).scalars(sa.text('SELECT 1'))",
    ],
)
def test_what_cannot_be_told_is_said_and_is_no_loss(remote: Project, line: str) -> None:
    remote.revision(2, line)
    result = remote.orm("apply", "--remote", "--yes")
    assert result.exit_code == 0, result.stderr
    asks = "it asks the database in line 9, and goes by the answers"
    assert f"0002_by_hand does more than its file tells: {asks}\n" in result.stderr
    assert remote.applied == ["0002"]


@ENGINES
def test_what_only_its_own_engine_can_write_may_be_a_loss(remote: Project) -> None:
    remote.revision(
        2, "class Own(sa.schema.ExecutableDDLElement): __visit_name__ = 'own'", "op.execute(Own())"
    )
    assert reviewed(remote) == [("drop_table", "", None, None, True)]


@ENGINES
def test_what_is_known_before_it_cannot_be_told(remote: Project) -> None:
    remote.revision(2, LOSING, "sa.inspect(op.get_bind())")
    assert [kind for kind, *_ in reviewed(remote)] == ["drop_column", "unknown"]


ASKS = "n = op.get_bind().execute(sa.text('SELECT count(*) FROM users')).scalar_one()"


@ENGINES
@pytest.mark.parametrize(
    ("lines", "effect"),
    [
        ([LOSING], ("drop_column", "users", "email", 2, True)),
        (["if n:", "    op.drop_table('users')"], ("drop_table", "users", None, 3, True)),
        (
            ["op.get_bind().execute(sa.text('DELETE FROM users'))"],
            ("delete", "users", None, 3, True),
        ),
        (
            ["op.get_bind().execute(sa.table('users').delete().where(sa.text(n)))"],
            ("delete", "users", None, 3, True),
        ),
        (
            [f"{BATCH}batch.alter_column('email', type_=sa.String(5))"],
            ("type", "users", "email", 2, True),
        ),
        (["op.drop_column(n, 'email')"], ("drop_table", "", None, None, True)),
        (["op.execute(f'DELETE FROM {n}')"], ("drop_table", "", None, None, True)),
        (
            ["sa.Table('users', sa.MetaData()).drop(op.get_bind())"],
            ("drop_table", "", None, None, True),
        ),
        (
            ["there = op.get_bind()", "sa.MetaData().drop_all(there)"],
            ("drop_table", "", None, None, True),
        ),
        (
            ["with op.batch_alter_table(n) as b: b.drop_column('x')"],
            ("drop_table", "", None, None, True),
        ),
    ],
)
def test_what_may_be_lost_after_the_database_was_asked_is_told(
    remote: Project, lines: list[str], effect: tuple[object, ...]
) -> None:
    remote.revision(2, ASKS, *lines)
    assert reviewed(remote) == [("unknown", "", None, None, False), effect]
    refused = remote.orm("apply", "--remote", "--yes")
    assert refused.exit_code == 1
    assert "data would be lost" in refused.stderr


@ENGINES
@pytest.mark.parametrize(
    "line",
    [
        "with open({path!r}, 'w') as kept: kept.write('')",
        "pathlib.Path({path!r}).drop_table(pathlib.Path({path!r}).unlink())",
        "op.drop_column('users', pathlib.Path({path!r}).write_text(''))",
        "pathlib.Path({path!r}).open('w').delete()",
    ],
)
def test_a_review_does_nothing_that_stands_in_a_revision(
    remote: Project, tmp_path: Path, line: str
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("all of it")
    remote.revision(2, "global pathlib; import pathlib", ASKS, line.format(path=str(kept)))
    assert reviewed(remote)[0][0] == "unknown"
    assert kept.read_text() == "all of it"


@ENGINES
@pytest.mark.parametrize(
    ("old", "new", "loses"),
    [
        ("sa.String(9)", "sa.String(20)", False),
        ("sa.String(9)", "sa.String(8)", True),
        ("sa.String(9)", "sa.Text()", False),
        ("sa.Text()", "sa.String(9)", True),
        ("sa.Text()", "sa.String()", False),
        ("sa.Integer()", "sa.BigInteger()", False),
        ("sa.SmallInteger()", "sa.Integer()", False),
        ("sa.BigInteger()", "sa.Integer()", True),
        ("sa.Integer()", "sa.String(9)", True),
        ("sa.Numeric(5, 2)", "sa.Numeric(7, 3)", False),
        ("sa.Numeric(5, 2)", "sa.Numeric(6, 4)", True),
        ("sa.Numeric(5, 2)", "sa.Numeric()", False),
    ],
)
def test_a_type_that_every_value_fits_loses_nothing(
    remote: Project, old: str, new: str, *, loses: bool
) -> None:
    remote.revision(2, f"op.create_table('t', sa.Column('x', {old}))")
    assert remote.orm("apply", "--remote", "--yes").exit_code == 0
    remote.query("INSERT INTO t VALUES (1)" if "Integer" in old else "INSERT INTO t VALUES ('1')")
    remote.revision(3, f"with op.batch_alter_table('t') as b: b.alter_column('x', type_={new})")
    assert reviewed(remote) == ([("type", "t", "x", 1, True)] if loses else [])


SQL = {
    "DROP TABLE IF EXISTS users": ("drop_table", "users", None),
    'ALTER TABLE "users" DROP COLUMN email': ("drop_column", "users", "email"),
    "-- note\n alter table users drop email": ("drop_column", "users", "email"),
    "ALTER TABLE users RENAME TO people": ("rename", "users", None),
    "ALTER TABLE users RENAME COLUMN email TO mail": ("rename", "users", "email"),
    "SELECT 1; DELETE FROM users WHERE age = 1": ("delete", "users", None),
    "UPDATE users SET age = 1, email = NULL WHERE x = y": ("update", "users", None),
    "with a as (select 1) update users as u set email = ''": ("update", "users", None),
    "ALTER TABLE users ALTER age SET NOT NULL": ("not_null", "users", "age"),
    'ALTER TABLE users ALTER COLUMN "age" SET NOT NULL': ("not_null", "users", "age"),
    "ALTER TABLE users ADD CONSTRAINT x CHECK (age > 0)": ("constraint", "users", None),
    "ALTER TABLE users ADD UNIQUE (age)": ("constraint", "users", None),
    "ALTER TABLE users ADD FOREIGN KEY (age) REFERENCES users": ("constraint", "users", None),
}


@ENGINES
@pytest.mark.parametrize("sql", SQL)
def test_plain_sql_is_read(remote: Project, sql: str) -> None:
    remote.revision(2, f"op.execute({sql!r})")
    assert [found[:3] for found in reviewed(remote)] == [SQL[sql]]
    remote.revision(2, f"op.get_bind().exec_driver_sql({sql!r})")
    assert [found[:3] for found in reviewed(remote)] == [SQL[sql]]


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("ALTER TABLE users ALTER age TYPE bigint USING age::bigint", [("rewrite", "age")]),
        ("ALTER TABLE users ALTER COLUMN age SET DATA TYPE text", [("convert", "age")]),
        ("ALTER TABLE users ALTER age TYPE smallint, ADD x int", [("convert", "age")]),
        ("ALTER TABLE users ALTER age TYPE numeric", [("rewrite", "age")]),
        ("DO $$ BEGIN RAISE NOTICE 'UPDATE users SET age = 1'; END $$", []),
        ("DO $$ BEGIN UPDATE users SET age = 1; END $$", [("update", None)]),
        ("CREATE UNIQUE INDEX ix ON users (id)", [("constraint", None)]),
        ("CREATE INDEX CONCURRENTLY ix ON users (id)", []),
        ("ALTER TABLE users ADD CHECK (age > 0) NOT VALID", []),
    ],
)
def test_plain_sql_that_locks_a_big_table_is_read(
    remote: Project, sql: str, told: list[tuple[str, str | None]]
) -> None:
    remote.query("INSERT INTO users (age) SELECT n FROM generate_series(1, 100000) AS n")
    remote.revision(2, f"op.execute({sql!r})")
    assert [(kind, column) for kind, _, column, *_ in reviewed(remote)] == told


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_an_account_that_may_only_own_its_tables_deploys(remote: Project) -> None:
    name = make_url(remote.url).database
    remote.query("CREATE ROLE deploys LOGIN")
    remote.query(f'GRANT CREATE ON DATABASE "{name}" TO deploys')
    for table in ("users", "orm_revisions", "alembic_version"):
        remote.query(f"ALTER TABLE {table} OWNER TO deploys")
    remote.query("GRANT CREATE ON SCHEMA public TO deploys")
    url = make_url(remote.url).set(username="deploys").render_as_string(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORM_REMOTE_URL", url)
        patch.setenv("PATH", "")
        remote.revision(2, "op.add_column('users', sa.Column('n', sa.Integer))")
        result = remote.orm("apply", "--remote", "--yes")
    assert result.exit_code == 0, result.output
    assert "loss" not in result.output
    assert remote.applied == ["0002"]
    for line in ("REASSIGN OWNED BY deploys TO CURRENT_USER", "DROP OWNED BY deploys"):
        remote.query(line)
    remote.query("DROP ROLE deploys")


def test_rows_that_are_not_counted_are_told_as_such(remote: Project) -> None:
    remote.revision(2, "op.execute('DELETE FROM users WHERE age = 1')")
    said = remote.orm("apply", "--remote", "--dry-run").output
    assert "deletes rows of users (the table has 3 rows)" in said


@ENGINES
def test_a_local_database_is_not_asked_about(remote: Project) -> None:
    remote.revision(2, LOSING)
    assert remote.orm("apply", "--local").exit_code == 0
    assert remote.applied == ["0002"]


# Questions of create -----------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize(("answer", "operation"), [("y", "new_column_name"), ("n", "drop_column")])
def test_create_asks_about_renames(project: Project, answer: str, operation: str) -> None:
    users = 'Table("users", metadata, Column("id", Integer, primary_key=True), Column("{}", Text))'
    project.models(users.format("nick"))
    assert project.orm("create", "start").exit_code == 0
    project.models(users.format("handle"))
    terminal, side = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        subprocess.run(
            [sys.executable, "-c", ORM, "migrations", "create", "rename"],
            cwd=project.folder,
            stdin=side,
            capture_output=True,
            check=True,
        )
    finally:
        os.close(terminal)
        os.close(side)
    assert operation in (project.folder / "alembic/versions/0002_rename.py").read_text()


def test_a_standby_is_refused_as_such(project: Project, postgresql_cluster: Cluster) -> None:
    primary, standby, *_ = postgresql_cluster.servers
    project.revision(1, "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORM_REMOTE_URL", primary.url("psycopg"))
        assert project.orm("apply", "--remote", "--yes").exit_code == 0
        postgresql_cluster.caught_up()
        project.revision(2, "op.add_column('users', sa.Column('n', sa.Integer))")
        patch.setenv("ORM_REMOTE_URL", standby.url("psycopg"))
        result = project.orm("apply", "--remote", "--yes")
    assert result.exit_code == 1
    assert "this server is a standby" in result.stderr
