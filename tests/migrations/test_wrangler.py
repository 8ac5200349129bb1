"""Revisions as wrangler's files: exported, checked, and applied by wrangler itself."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite import d1
from tests.migrations.scripts import contents, run_in_one_transaction, same_rows
from tests.migrations.support import Project

HISTORY = (
    (
        "op.create_table('users',"
        " sa.Column('id', sa.Integer, primary_key=True), sa.Column('email', sa.String(20)),"
        " sqlite_autoincrement=True)",
        "op.create_table('posts', sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('user_id', sa.Integer, sa.ForeignKey('users.id', ondelete='CASCADE')),"
        " sa.Column('title', sa.Text))",
        "op.create_index('ix_posts_user_id', 'posts', ['user_id'])",
        "op.create_table('likes', sa.Column('post_id', sa.Integer,"
        " sa.ForeignKey('posts.id', ondelete='SET NULL')), sa.Column('n', sa.Integer))",
    ),
    (
        "op.execute('''CREATE TRIGGER noted AFTER DELETE ON posts -- a comment",
        "    begin",
        "        INSERT INTO likes VALUES (NULL, case when OLD.id > 5 then 1 else 2 end);",
        "    end''')",
        "op.execute('CREATE VIEW newest AS"
        " SELECT title FROM posts JOIN users ON user_id = users.id')",
        "t = sa.table('posts', sa.column('title'))",
        "op.bulk_insert(t, [{'title': \"it's ; -- 'x'\"}, {'title': None}, {'title': 'a\\nb'}])",
    ),
    (
        "with op.batch_alter_table('users') as batch:",
        "    batch.alter_column('email', type_=sa.Text)",
    ),
    ("op.execute(\"UPDATE posts SET title = coalesce(title, 'none') || '!'\")",),
    (
        "with op.batch_alter_table('users') as batch:",
        "    batch.alter_column('id', new_column_name='number')",
        "with op.batch_alter_table('posts') as batch:",
        "    batch.add_column(sa.Column('read', sa.Integer, server_default='0', nullable=False))",
    ),
    (
        "op.execute('DELETE FROM users WHERE number > 7"
        " AND number NOT IN (SELECT user_id FROM posts WHERE user_id > 0)')",
    ),
    ("pass",),
)


@pytest.fixture
def history(project: Project) -> Project:
    for number, lines in enumerate(HISTORY, 1):
        project.revision(number, *lines)
    return project


def exported(project: Project, *options: str) -> list[Path]:
    result = project.orm("export", "--wrangler", "migrations", "--json", *options)
    assert result.exit_code == 0, result.output
    return [project.folder / name for name in json.loads(result.stdout)["new"]]


def refused(project: Project, *options: str) -> str:
    before = sorted((project.folder / "migrations").glob("*"))
    result = project.orm("export", "--wrangler", "migrations", *options)
    assert result.exit_code == 1, result.output
    assert sorted((project.folder / "migrations").glob("*")) == before, "nothing was written"
    return result.stderr


def problems(project: Project, *options: str) -> list[str]:
    result = project.orm("check", "--wrangler", "migrations", "--json", *options)
    found = json.loads(result.stdout)
    assert result.exit_code == bool(found), result.output
    return [one["message"] for one in found if one["kind"] not in ("revision", "foreign_key")]


# Export ------------------------------------------------------------------------------------


def test_each_revision_has_one_file_that_is_never_written_again(history: Project) -> None:
    paths = exported(history)
    assert [path.name for path in paths] == [f"{n:04d}_by_hand.sql" for n in range(1, 8)]
    written = {path: path.read_bytes() for path in paths}
    first, second, *_ = written[paths[0]].decode().splitlines()
    assert re.fullmatch("-- revision 0001, sha256 [0-9a-f]{64}", first)
    assert "sha256" in second
    assert problems(history) == []
    history.revision(8, "op.execute(\"INSERT INTO users (email) VALUES ('eight')\")")
    assert "0008_by_hand.py has no file" in problems(history)[0]
    assert [path.name for path in exported(history)] == ["0008_by_hand.sql"]
    assert {path: path.read_bytes() for path in paths} == written
    assert exported(history) == []
    told = history.orm("export", "--wrangler", "migrations")
    assert "Nothing new" in told.stdout
    assert history.is_untouched


def test_files_do_what_apply_does(history: Project) -> None:
    database = history.folder / "d1.db"
    for number, path in enumerate(exported(history), 1):
        same_rows(history.database, database, number)
        history.orm("apply", "--local", "--to", f"{number:04d}")
        run_in_one_transaction(database, path.read_text("utf-8"))
        assert contents(database) == contents(history.database)


def test_an_export_says_what_a_reader_should_know(history: Project) -> None:
    said = history.orm("export", "--wrangler", "migrations").stderr
    assert "0003_by_hand: it writes tables anew" in said
    assert "4 rows for each of posts, 3 rows for each of likes, 2 rows for each of users" in said
    assert "0002_by_hand: it creates a trigger" in said
    trigger = (history.folder / "migrations" / "0002_by_hand.sql").read_text().splitlines()
    [line] = [line for line in trigger if "TRIGGER" in line]
    assert " BEGIN " in line and line.endswith(" END;")


def test_line_endings_make_no_difference(history: Project) -> None:
    for path in exported(history):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert problems(history) == []
    assert exported(history) == []


def test_files_by_hand_may_come_before(history: Project) -> None:
    (history.folder / "migrations").mkdir()
    (history.folder / "migrations" / "0004_by_wrangler.sql").write_text("CREATE TABLE old (a);")
    (history.folder / "migrations" / "README.md").write_text("no SQL")
    assert exported(history)[0].name == "0005_by_hand.sql"
    assert problems(history) == []


def test_a_baseline_is_not_run(history: Project) -> None:
    one, two, *_ = exported(history, "--baseline", "0001")
    assert "CREATE" not in one.read_text()
    assert "CREATE" in two.read_text()
    assert problems(history) == []
    assert "a baseline is what comes before" in refused(history, "--baseline", "0002")


@pytest.mark.parametrize(
    ("name", "wanted"), [("0001_é ü'; x.py", "0001_x.sql"), ("0001_a-b.c.py", "0001_a-b_c.sql")]
)
def test_odd_names(project: Project, name: str, wanted: str) -> None:
    project.revision(1, "pass")
    project.file("0001_by_hand.py").rename(project.file(name))
    assert [path.name for path in exported(project)] == [wanted]
    assert problems(project) == []


# Refusals ----------------------------------------------------------------------------------


def edit(folder: Path) -> None:
    with (folder / "0002_by_hand.sql").open("a") as file:
        file.write("DROP TABLE likes;\n")


def remove(folder: Path) -> None:
    (folder / "0003_by_hand.sql").unlink()


def double(folder: Path) -> None:
    shutil.copy(folder / "0003_by_hand.sql", folder / "0003_again.sql")


def add(folder: Path) -> None:
    (folder / "0008_more.sql").write_text("DROP TABLE likes;")


def unnumbered(folder: Path) -> None:
    (folder / "more.sql").write_text("DROP TABLE likes;")


def encode(folder: Path) -> None:
    (folder / "0001_by_hand.sql").write_bytes(b"\xff")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "an edited file": (edit, "0002_by_hand.sql is not as it was exported"),
    "a missing file": (remove, "0003_by_hand.py has no file, and later revisions have one"),
    "one number twice": (double, "0003_again.sql and 0003_by_hand.sql have the same number"),
    "a file by hand": (add, "0008_more.sql was not exported from a revision"),
    "no number": (unnumbered, "more.sql has no number"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_files_that_do_not_agree_are_refused(history: Project, wrong: str) -> None:
    exported(history)
    spoil, message = WRONG[wrong]
    spoil(history.folder / "migrations")
    assert message in "\n".join(problems(history))
    history.revision(8, "pass")
    assert message in refused(history)


def test_a_revision_that_changes_after_its_export(history: Project) -> None:
    exported(history)
    history.revision(4, "pass")
    message = "0004_by_hand.py was changed after 0004_by_hand.sql was exported"
    assert message in problems(history)[0]
    assert message in refused(history)
    for number in (4, 5, 6, 7):
        history.file(f"{number:04d}_by_hand.py").unlink()
    assert (
        "0004_by_hand.sql was exported from revision 0004, and there is no" in problems(history)[0]
    )


def test_a_folder_that_is_none(history: Project) -> None:
    said = history.orm("check", "--wrangler", "migrations")
    assert "there is no folder migrations" in said.stderr
    (history.folder / "migrations").write_text("a file")
    for command in ("check", "export"):
        said = history.orm(command, "--wrangler", "migrations")
        assert said.exit_code == 1
        assert "migrations is a file" in said.stderr


def test_a_file_that_is_no_text(history: Project) -> None:
    exported(history)
    encode(history.folder / "migrations")
    assert "0001_by_hand.sql is not UTF-8" in refused(history)


COLUMNS = ", ".join(f"c{number}" for number in range(101))
REFUSED = {
    f"op.execute('CREATE TABLE t ({COLUMNS})')": "D1 allows 100 columns in a table",
    "op.execute('CREATE VIEW v AS ' + ' UNION ALL '.join(['SELECT 1'] * 6))": "5 terms",
    "op.execute(\"INSERT INTO likes (n) SELECT 'a' LIKE '\" + 'x' * 51 + \"'\")": "50 bytes in a",
    "op.execute('UPDATE likes SET n = 1' + ' + 1' * 100)": "100 levels in an expression",
    "op.execute(\"UPDATE posts SET title = '\" + 'x' * 100_000 + \"'\")": "100,000 bytes in a",
    "op.execute('CREATE TEMP TABLE t (a)')": "D1 refuses TEMP tables",
    "op.execute('PRAGMA user_version = 3')": "D1 refuses PRAGMA user_version",
    "op.execute('UPDATE posts SET title = sqlite_version()')": "the function sqlite_version",
    "op.execute('CREATE TABLE _cf_t (a)')": "begins with _cf_",
    "op.execute(\"UPDATE posts SET title = 'BEGIN TRANSACTION;'\")": "wrangler takes BEGIN TRANS",
    "op.get_bind().begin_nested().commit()": "D1 refuses SAVEPOINT",
    "op.get_bind().scalar(sa.text('SELECT count(*) FROM users'))": "depends on its rows",
    "op.get_bind().execute(sa.text('DELETE FROM likes')).rowcount": "how many rows",
    "op.get_bind().exec_driver_sql('DELETE FROM likes')": "past SQLAlchemy",
    "op.get_bind().execute(sa.text('DELETE FROM likes RETURNING n')).all()": "the rows that it has",
    "op.execute('COMMIT')": "begins or ends a transaction",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_d1_would_refuse_is_refused_here(project: Project, line: str) -> None:
    project.revision(1, *HISTORY[0])
    project.revision(2, line)
    said = refused(project)
    assert REFUSED[line] in said
    assert "0002_by_hand.py" in said


@pytest.mark.parametrize(
    "change", ["ALTER COLUMN a SET NOT NULL", "alter a drop not null", "ADD CONSTRAINT c CHECK (a)"]
)
def test_what_only_a_newer_sqlite_can_alter(change: str) -> None:
    with closing(sqlite3.connect(":memory:")) as before:
        before.execute("CREATE TABLE t (a)")
        [said] = d1.Rules(before).refusals([f"ALTER TABLE t {change};"])
    assert "D1 refuses to alter constraints" in said


@pytest.mark.parametrize("project", ["postgresql"], indirect=True)
def test_revisions_for_another_engine(project: Project) -> None:
    project.revision(1, "pass")
    assert "D1, which is SQLite, and [tool.orm] local" in refused(project)


# A schema that wrangler has exported ----------------------------------------------------------


def test_an_exported_schema_is_compared(history: Project) -> None:
    exported(history)
    history.alembic("upgrade", "head")
    schema = history.folder / "schema.sql"
    with closing(sqlite3.connect(history.database)) as connection:
        objects = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    statements = [sql for (sql,) in objects] + [
        "CREATE TABLE d1_migrations (id INTEGER, name TEXT)"
    ]
    schema.write_text("PRAGMA defer_foreign_keys=TRUE;\n" + ";\n".join(statements) + ";\n")
    assert problems(history, "--schema", "schema.sql") == []
    schema.write_text(schema.read_text() + "CREATE TABLE more (a);")
    assert problems(history, "--schema", "schema.sql") == [
        "the database has table more, and no applied revision makes it"
    ]
    schema.write_text("no SQL")
    said = history.orm("check", "--wrangler", "migrations", "--schema", "schema.sql")
    assert "schema.sql is no schema of SQLite" in said.stderr


# wrangler itself -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wrangler() -> str:
    """The program, which needs Node 22: ``npm install wrangler``."""
    found = os.environ.get("ORM_WRANGLER") or shutil.which("wrangler")
    if not found:
        pytest.skip("wrangler is neither on the PATH nor in ORM_WRANGLER")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip(f"wrangler does not run: {said.stderr.strip()[-200:]}")
    return found


@pytest.mark.slow
def test_wrangler_applies_them_to_a_local_d1(history: Project, wrangler: str) -> None:
    (history.folder / "wrangler.toml").write_text(
        'name = "blog"\ncompatibility_date = "2026-01-01"\n[[d1_databases]]\nbinding = "DB"\n'
        'database_name = "blog"\ndatabase_id = "00000000-0000-0000-0000-000000000000"\n'
    )

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [wrangler, "d1", *arguments],
            cwd=history.folder,
            env=os.environ | {"CI": "1", "WRANGLER_SEND_METRICS": "false", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    waiting = history.folder / "waiting"
    exported(history)
    (history.folder / "migrations").rename(waiting)
    (history.folder / "migrations").mkdir()
    for number, path in enumerate(sorted(waiting.iterdir()), 1):
        path.rename(history.folder / "migrations" / path.name)
        run("migrations", "apply", "blog", "--local")
        history.orm("apply", "--local", "--to", f"{number:04d}")
        state = history.folder / ".wrangler" / "state" / "v3" / "d1"
        [database] = [f for f in state.rglob("*.sqlite") if f.name != "metadata.sqlite"]
        assert contents(database) == contents(history.database), path.name
        same_rows(history.database, database, number)
    run("export", "blog", "--local", "--no-data", "--output", "schema.sql")
    assert problems(history, "--schema", "schema.sql") == []
    assert "No migrations to apply" in run("migrations", "apply", "blog", "--local")
