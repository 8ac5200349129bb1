"""The newest revision anew, while no remote database is known to have it."""

import json
import re

import pytest

from orm.exceptions import MigrationError
from orm.migrations.compare.amending import set_aside
from orm.migrations.files.revisions import read
from tests.migrations.support import ENGINES, Project

USERS = 'users = Table("users", metadata, Column("id", Integer, primary_key=True){})'
NICK = ', Column("nick", String(20))'
HANDLE = ', Column("handle", String(20))'


@pytest.fixture
def two(project: Project) -> Project:
    """Two revisions; the models go on after the second one."""
    project.models(USERS.format(""))
    assert project.orm("create", "create users").exit_code == 0
    project.models(USERS.format(NICK))
    assert project.orm("create", "add a nick").exit_code == 0
    return project


@ENGINES
def test_it_is_written_from_the_models_of_now(two: Project) -> None:
    old = two.file("0002_add_a_nick.py").read_text()
    two.models(USERS.format(NICK + HANDLE))
    said = two.orm("create", "--amend")
    assert said.exit_code == 0, said.output
    assert two.revisions == ["0001_create_users.py", "0002_add_a_nick.py"]
    text = two.file("0002_add_a_nick.py").read_text()
    assert "nick" in text
    assert "handle" in text
    assert '"""add a nick' in text
    assert two.file("0002_add_a_nick.py.1.old").read_text() == old
    assert "0002_add_a_nick.py.1.old, with all that was written in it by hand" in said.stderr
    assert "ORM_REMOTE_URL is not set" in said.stderr
    assert two.is_untouched
    assert two.orm("check").exit_code == 0
    two.upgrade("orm")


def test_it_can_get_another_name(two: Project) -> None:
    said = json.loads(two.orm("create", "--amend", "--json", "add a name to be called by").stdout)
    assert said["revision"] == "0002"
    assert two.revisions == ["0001_create_users.py", "0002_add_a_name_to_be_called_by.py"]
    assert two.orm("create", "--amend", "add a nick").exit_code == 0
    assert two.orm("create", "--amend").exit_code == 0
    assert len(list(two.file("").glob("*.old"))) == 3  # none took the place of another


def test_the_local_database_is_begun_anew_after_it(two: Project) -> None:
    two.upgrade("orm")
    two.models(USERS.format(HANDLE))
    said = two.orm("create", "--amend")
    assert "The local database has the old 0002" in said.stderr
    [command] = re.findall(r"orm migrations (reset.*)", said.stderr)
    assert command in two.orm("apply", "--local").stderr
    done = two.orm(*command.split(), "--yes")
    assert done.exit_code == 0, done.output
    assert two.orm("check", "--local").exit_code == 0
    assert two.ledger == ["0001", "0002"]


@ENGINES
def test_what_a_remote_database_has_stays(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = two.file("0002_add_a_nick.py").read_text()
    two.models(USERS.format(HANDLE))
    monkeypatch.setenv("ORM_REMOTE_URL", two.url)
    monkeypatch.setenv("ORM_LOCAL_URL", two.url)
    two.orm("apply", "--remote", "--to", "0001", "--yes")
    two.upgrade("orm")
    said = two.orm("create", "--amend")
    assert said.exit_code == 1
    assert "has 0002_add_a_nick, and what is applied there stays as it is" in said.stderr
    two.query("DROP TABLE orm_revisions")  # stock Alembic's word is enough
    assert two.orm("create", "--amend").exit_code == 1
    two.query("DROP TABLE alembic_version")
    assert two.file("0002_add_a_nick.py").read_text() == text
    assert two.orm("create", "--amend", "--no-rename").exit_code == 0


@pytest.mark.parametrize(
    ("models", "arguments", "code", "said"),
    [
        (USERS.format(""), (), 1, "the revisions before 0002_add_a_nick make what the models say"),
        (USERS.format(NICK), ("///",), 1, "has no letter or digit"),
        (USERS.format(NICK), ("--rename", "users.a:b"), 1, "users"),
        (USERS.format(NICK), ("--empty",), 2, "--empty"),
        ("raise RuntimeError('no models')", (), 1, "no models"),
    ],
)
def test_what_fails_changes_nothing(
    two: Project, models: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = {name: two.file(name).read_text() for name in two.revisions}
    two.models(models)
    done = two.orm("create", "--amend", *arguments)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert {name: two.file(name).read_text() for name in two.revisions} == before
    assert not list(two.file("").glob("*.old"))


def test_an_interruption_changes_nothing(two: Project) -> None:
    newest = read(two.file(""))[-1]
    with pytest.raises(KeyboardInterrupt), set_aside(newest):
        two.file("0002_half_done.py").write_text("half")
        raise KeyboardInterrupt
    assert two.revisions == ["0001_create_users.py", "0002_add_a_nick.py"]
    assert newest.path.read_text() == newest.text


def test_one_that_does_not_run_stays_and_so_does_the_old_text(two: Project) -> None:
    newest = read(two.file(""))[-1]
    with (
        pytest.raises(MigrationError, match=r"does not run. The old text is in .*\.py\.1\.old"),
        set_aside(newest),
    ):
        newest.path.write_text("new")
        raise MigrationError("it does not run")
    assert newest.path.read_text() == "new"
    assert two.file("0002_add_a_nick.py.1.old").read_text() == newest.text


def test_there_must_be_one_of_the_models(two: Project) -> None:
    assert two.orm("squash").exit_code == 0
    said = two.orm("create", "--amend")
    assert said.exit_code == 1
    assert "is a checkpoint" in said.stderr
    for name in two.revisions:
        two.file(name).unlink()
    assert "no revision to write anew" in two.orm("create", "--amend").stderr


def test_without_it_a_name_is_needed(two: Project) -> None:
    said = two.orm("create")
    assert said.exit_code == 2
    assert "Missing argument" in said.stderr
