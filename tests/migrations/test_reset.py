"""The local database anew, as after a switch of branches."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.migrations.support import ENGINES, Project

pytestmark = pytest.mark.slow


@pytest.fixture
def ahead(project: Project) -> Project:
    """A database with rows, and with a revision that is on another branch."""
    project.revision(1, "op.create_table('t1', sa.Column('id', sa.Integer))")
    project.upgrade("orm")
    project.query("INSERT INTO t1 VALUES (1)")
    project.revision(2, "op.create_table('t2', sa.Column('id', sa.Integer))")
    project.upgrade("orm")
    project.query("INSERT INTO t2 VALUES (2)")
    project.file("0002_by_hand.py").unlink()
    return project


@ENGINES
def test_a_database_that_is_ahead_says_so(ahead: Project) -> None:
    for command in ("list", "apply"):
        said = ahead.orm(command, "--local")
        assert said.exit_code == 1
        assert "0002_by_hand.py was applied" in said.output
        assert "the database is ahead of this checkout" in said.output
        assert "orm migrations reset --local" in said.output


def test_a_remote_database_that_is_ahead_is_not_to_be_reset(
    ahead: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", ahead.url)
    said = ahead.orm("list", "--remote")
    assert "the database is ahead of this checkout" in said.output
    assert "reset" not in said.output


def test_a_command_names_the_target_that_was_given(ahead: Project) -> None:
    (ahead.folder / "alembic" / "versions" / "0001_by_hand.py").rename(ahead.file("0001_other.py"))
    said = ahead.orm("list", "--local").output
    assert 'orm migrations repair 0001 --reason "the file was renamed" --local' in said
    assert "--remote" not in said


@ENGINES
def test_it_begins_anew(ahead: Project) -> None:
    said = ahead.orm("reset", "--local", "--yes", "--zero")
    assert said.exit_code == 0, said.output
    assert said.output == "begun anew from nothing\napplied 0001_by_hand\n"
    assert ahead.ledger == ahead.applied == ["0001"]
    assert "t2" not in ahead.tables
    assert ahead.query("SELECT count(*) FROM t1") == [(0,)]
    assert ahead.orm("list", "--local").exit_code == 0


def test_a_restore_point_of_this_branch_keeps_its_rows(ahead: Project) -> None:
    ahead.revision(2, "op.create_table('other', sa.Column('id', sa.Integer))")
    said = json.loads(ahead.orm("reset", "--local", "--yes", "--json").stdout)
    assert said == {"restore_point": "app.before-0002.db", "applied": ["0002_by_hand"]}
    assert ahead.ledger == ["0001", "0002"]
    assert ahead.query("SELECT id FROM t1") == [(1,)]
    assert "other" in ahead.tables
    assert (ahead.folder / "app.before-reset.db").exists()


def test_each_one_keeps_what_was_there(ahead: Project) -> None:
    for number in (1, 2):
        ahead.query(f"INSERT INTO t1 VALUES ({10 * number})")
        assert ahead.orm("reset", "--local", "--yes", "--zero").exit_code == 0
    for name, ids in (("app.before-reset", [1, 10]), ("app.before-reset-2", [20])):
        with closing(sqlite3.connect(ahead.folder / f"{name}.db")) as kept:
            assert [row[0] for row in kept.execute("SELECT id FROM t1")] == ids
    assert ahead.query("SELECT count(*) FROM t1") == [(0,)]


def test_a_database_that_a_program_uses_is_not_begun_anew(ahead: Project) -> None:
    """The program would go on with a file that is gone, and its writes would be, too."""
    with closing(sqlite3.connect(ahead.folder / "app.db")) as program:
        program.execute("PRAGMA journal_mode = WAL")
        program.execute("SELECT * FROM t1").fetchall()
        said = ahead.orm("reset", "--local", "--yes", "--zero")
        assert said.exit_code == 1
        assert (
            "cannot be begun anew, and nothing was changed: another program uses it" in said.output
        )
    assert ahead.query("SELECT id FROM t2") == [(2,)]
    assert ahead.query("PRAGMA journal_mode") == [("wal",)]
    assert ahead.orm("reset", "--local", "--yes", "--zero").exit_code == 0


def test_a_file_that_is_no_database_is_named(ahead: Project) -> None:
    file = ahead.folder / "app.db"
    file.write_bytes(b"not a database" * 100)
    said = ahead.orm("reset", "--local", "--yes", "--zero")
    assert said.exit_code == 1
    assert "file is not a database. Move the file away, and reset again" in said.output
    file.unlink()
    assert ahead.orm("reset", "--local", "--yes", "--zero").exit_code == 0


def test_it_asks(ahead: Project) -> None:
    assert ahead.orm("reset", "--local", input="n\n").exit_code == 1
    assert ahead.orm("reset", "--yes").exit_code == 2
    assert ahead.orm("reset", "--remote", "--yes").exit_code == 2
    assert ahead.ledger == ["0001", "0002"]


@ENGINES
def test_a_remote_database_is_never_reset(ahead: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_LOCAL_URL", ahead.url)
    monkeypatch.setenv("ORM_REMOTE_URL", ahead.url)
    said = ahead.orm("reset", "--local", "--yes")
    assert said.exit_code == 1
    assert "no remote database is reset" in said.output
    assert ahead.ledger == ["0001", "0002"]


def broken(ahead: Project) -> None:
    """The revisions of this branch fail in their second one."""
    ahead.revision(2, "op.create_table('other', sa.Column('id', sa.Integer))", "op.execute('NO')")


@pytest.mark.parametrize("begins", [(), ("--zero",)], ids=["from a restore point", "from nothing"])
def test_a_reset_that_fails_changes_nothing(ahead: Project, begins: tuple[str, ...]) -> None:
    broken(ahead)
    before = sorted(path.name for path in ahead.folder.iterdir())
    for _ in range(2):  # the second one, too, finds what was there at first
        said = ahead.orm("reset", "--local", "--yes", *begins)
        assert said.exit_code == 1
        assert "0002_by_hand.py failed in line" in said.output
        assert "app.db is as it was. Correct the file, and reset again" in said.output
        assert "apply again" not in said.output
        assert ahead.query("SELECT id FROM t2") == [(2,)]
        assert sorted(path.name for path in ahead.folder.iterdir()) == before


@ENGINES
def test_files_that_are_no_line_reset_nothing(ahead: Project) -> None:
    ahead.file("0001_by_hand.py").unlink()
    ahead.revision(2, "pass")
    said = ahead.orm("reset", "--local", "--yes")
    assert said.exit_code == 1
    assert "there is no such file: get it back from version control" in said.output
    assert ahead.query("SELECT id FROM t2") == [(2,)]


@ENGINES
def test_another_revision_of_an_applied_number_is_not_a_new_name(
    ahead: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.revision(2, "op.create_table('other', sa.Column('id', sa.Integer))")
    ahead.file("0002_by_hand.py").rename(ahead.file("0002_by_hand.py").with_name("0002_other.py"))
    for command in ("list", "apply", "check"):
        said = ahead.orm(command, "--local")
        assert said.exit_code == 1
        assert "here another revision has its number, 0002_other.py" in said.output
        assert "orm migrations renumber --local" in said.output
        assert "orm migrations reset --local" in said.output
        assert "repair" not in said.output
    monkeypatch.setenv("ORM_REMOTE_URL", ahead.url)
    remote = ahead.orm("list", "--remote").output
    assert "orm migrations renumber --remote" in remote
    assert "reset" not in remote
    assert "repair" not in remote
