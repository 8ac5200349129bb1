import json
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


def test_an_edited_applied_file_is_refused(merged: Project) -> None:
    file = merged.file("0003_ours.py")
    file.write_text(f"{file.read_text()}# edited\n")
    before = merged.revisions
    result = merged.orm("renumber", "--local")
    assert result.exit_code == 1
    assert "0003 is applied" in result.stderr
    assert merged.revisions == before


def test_it_has_to_be_said_where(merged: Project) -> None:
    assert merged.orm("renumber").exit_code == 2
    result = merged.orm("renumber", "--remote")
    assert result.exit_code == 1
    assert "ORM_REMOTE_URL is not set" in result.stderr
