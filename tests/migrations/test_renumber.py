import json
import re
import shlex
from pathlib import Path

import pytest

from tests.migrations.support import Project


def write(project: Project, name: str, down: str | None, *, newline: str = "\n") -> Path:
    """A revision file of some branch."""
    number = name.partition("_")[0]
    lines = [
        "import sqlalchemy as sa",
        "from alembic import op",
        f"revision: str = '{number}'  # ü",
        f"down_revision: str | None = {down!r}",
        "def upgrade():",
        f"    op.create_table('{name}', sa.Column('revision', sa.String))",
        "",
    ]
    file = project.file(f"{name}.py")
    file.write_bytes(newline.join(lines).encode())
    return file


@pytest.fixture
def merged(project: Project) -> Project:
    """Two branches that both have 0002 and 0003; ours is applied."""
    write(project, "0001_start", None)
    write(project, "0002_ours", "0001")
    write(project, "0003_ours", "0002")
    assert project.orm("apply", "--local").exit_code == 0
    write(project, "0002_theirs", "0001")
    write(project, "0003_theirs", "0002", newline="\r\n")
    return project


def test_what_is_not_applied_comes_behind(merged: Project) -> None:
    ours = merged.file("0002_ours.py").read_bytes()
    assert merged.orm("apply", "--local").exit_code == 1
    result = merged.orm("renumber", "--local", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == [
        {"old": "0002_theirs", "new": "0004_theirs", "follows": "0003"},
        {"old": "0003_theirs", "new": "0005_theirs", "follows": "0004"},
    ]
    assert merged.revisions == [
        "0001_start.py", "0002_ours.py", "0003_ours.py", "0004_theirs.py", "0005_theirs.py",
    ]  # fmt: skip
    assert merged.file("0002_ours.py").read_bytes() == ours
    text = merged.file("0005_theirs.py").read_bytes()
    assert b'revision: str = "0005"  # \xc3\xbc\r\n' in text
    assert b"sa.Column('revision', sa.String)" in text
    assert merged.orm("apply", "--local").exit_code == 0
    assert merged.ledger == ["0001", "0002", "0003", "0004", "0005"]
    assert "nothing to renumber" in merged.orm("renumber", "--local").stdout


def test_what_the_remote_database_has_keeps_its_number(
    merged: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", f"sqlite+aiosqlite:///{merged.folder}/remote.db")
    ours = {name: merged.file(f"{name}.py") for name in ("0002_ours", "0003_ours")}
    texts = {file: file.read_bytes() for file in ours.values()}
    for file in texts:
        file.unlink()
    assert merged.orm("apply", "--remote", "--yes").exit_code == 0
    for file, text in texts.items():
        file.write_bytes(text)
    before = merged.revisions
    said = merged.orm("renumber", "--local")
    assert said.exit_code == 1
    assert "the remote database has 0002_theirs, 0003_theirs" in said.stderr
    assert merged.revisions == before
    for command in ("migrations renumber --remote", "migrations reset --local"):
        assert f"orm {command}" in said.stderr
    assert merged.orm("renumber", "--remote").exit_code == 0
    assert merged.orm("reset", "--local", "--yes", "--zero").exit_code == 0
    assert merged.orm("apply", "--remote", "--yes").exit_code == 0
    for target in ("--local", "--remote"):
        assert merged.orm("list", target).exit_code == 0


@pytest.fixture
def put_back(merged: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The remote database has 0002_theirs, whose file was renumbered and put back by hand."""
    monkeypatch.setenv("ORM_REMOTE_URL", f"sqlite+aiosqlite:///{merged.folder}/remote.db")
    ours = {name: merged.file(f"{name}.py") for name in ("0002_ours", "0003_ours")}
    texts = {file: file.read_bytes() for file in ours.values()}
    for file in texts:
        file.unlink()
    assert merged.orm("apply", "--remote", "--yes", "--to", "0002").exit_code == 0
    for file, text in texts.items():
        file.write_bytes(text)
    monkeypatch.delenv("ORM_REMOTE_URL")
    assert merged.orm("renumber", "--local").exit_code == 0
    monkeypatch.setenv("ORM_REMOTE_URL", f"sqlite+aiosqlite:///{merged.folder}/remote.db")
    for name in ("theirs",):
        for number, back in (("0004", "0002"), ("0005", "0003")):
            file = merged.file(f"{number}_{name}.py")
            text = file.read_text().replace(f'"{number}"', f'"{back}"')
            text = text.replace('"0003"\ndef', '"0001"\ndef').replace('"0004"', '"0002"')
            file.unlink()
            merged.file(f"{back}_{name}.py").write_text(text)
    return merged


def test_what_was_put_back_by_hand_can_be_accepted(put_back: Project) -> None:
    """List and renumber do not send the user to each other; what they print works."""
    said = put_back.orm("renumber", "--remote")
    assert said.exit_code == 1
    edited = "0002_theirs.py was edited after it was applied"
    assert edited in said.stderr
    assert edited in put_back.orm("list", "--remote").stderr
    assert "migrations list" not in said.stderr
    [accept] = re.findall(r"orm migrations (repair .*)", said.stderr)
    done = put_back.orm(*shlex.split(accept), "--yes")
    assert done.exit_code == 0, done.output
    done = put_back.orm("renumber", "--remote")
    assert done.exit_code == 0, done.output
    assert put_back.revisions == [
        "0001_start.py", "0002_theirs.py", "0003_ours.py", "0004_ours.py", "0005_theirs.py",
    ]  # fmt: skip
    assert put_back.orm("list", "--remote").exit_code == 0
    assert put_back.orm("apply", "--remote", "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/shop", "cannot connect to postgresql+psycopg"),
        ("nonsense", "ORM_REMOTE_URL is not a database URL"),
    ],
)
def test_a_remote_database_that_cannot_be_asked(
    merged: Project, url: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", url)
    before = merged.revisions
    said = merged.orm("renumber", "--local")
    assert said.exit_code == 1
    assert "the database that ORM_REMOTE_URL names may have what would be changed" in said.stderr
    assert cause in said.stderr
    assert "secret" not in said.stderr
    assert said.stderr.rstrip().endswith("unset ORM_REMOTE_URL")
    assert merged.revisions == before
    monkeypatch.delenv("ORM_REMOTE_URL")
    assert merged.orm("renumber", "--local").exit_code == 0
    monkeypatch.setenv("ORM_REMOTE_URL", url)
    said = merged.orm("create", "--amend")
    assert said.exit_code == 1
    assert said.stderr.rstrip().endswith("unset ORM_REMOTE_URL")


def test_a_dry_run_changes_nothing(merged: Project) -> None:
    before = {name: merged.file(name).read_bytes() for name in merged.revisions}
    assert "0002_theirs -> 0004_theirs" in merged.orm("renumber", "--local", "--dry-run").stdout
    assert {name: merged.file(name).read_bytes() for name in merged.revisions} == before


def test_nothing_applied_anywhere(project: Project) -> None:
    write(project, "0001_start", None)
    for branch in ("a", "b"):
        write(project, f"0002_{branch}", "0001")
        write(project, f"0003_{branch}", "0002")
    assert project.orm("renumber", "--local").exit_code == 0
    assert project.revisions == [
        "0001_start.py", "0002_a.py", "0003_b.py", "0004_a.py", "0005_b.py",
    ]  # fmt: skip
    assert project.orm("check").exit_code == 1  # there are no models; but the line is one
    assert project.orm("apply", "--local").exit_code == 0


def test_a_name_may_pass_from_one_to_the_other(project: Project) -> None:
    write(project, "0001_fix", None)
    write(project, "0003_fix", "0002")
    write(project, "0004_fix", "0003")
    assert project.orm("renumber", "--local").exit_code == 0
    assert project.revisions == ["0001_fix.py", "0002_fix.py", "0003_fix.py"]
    assert project.orm("apply", "--local").exit_code == 0


def test_a_copy_is_named_and_not_renumbered(project: Project) -> None:
    original = write(project, "0001_start", None)
    assert project.orm("apply", "--local").exit_code == 0
    project.file("0001_copy.py").write_bytes(original.read_bytes())
    for command in (["apply", "--local"], ["renumber", "--local"], ["check"]):
        said = project.orm(*command)
        assert said.exit_code == 1
        assert "0001_copy.py and 0001_start.py have the same text: keep the one" in said.output
        assert "renumber" not in said.output
    project.file("0001_copy.py").unlink()
    assert "nothing to renumber" in project.orm("renumber", "--local").stdout


def test_an_edited_applied_file_is_refused(merged: Project) -> None:
    file = merged.file("0003_ours.py")
    file.write_text(f"{file.read_text()}# edited\n")
    before = merged.revisions
    result = merged.orm("renumber", "--local")
    assert result.exit_code == 1
    assert "0003_ours.py was edited after it was applied" in result.stderr
    assert merged.revisions == before


def test_it_has_to_be_said_where(merged: Project) -> None:
    assert merged.orm("renumber").exit_code == 2
    result = merged.orm("renumber", "--remote")
    assert result.exit_code == 1
    assert "ORM_REMOTE_URL is not set" in result.stderr
