"""Files that cannot be revisions: a clear message that names the file, and nothing is touched."""

import os
import sys

import pytest

from orm.exceptions import MigrationError
from orm.migrations.files.revisions import read
from tests.migrations.support import COMMAND_LINES, ENGINES, Project

pytestmark = ENGINES

HEAD = 'revision = "0002"\ndown_revision = "0001"\n'
UPGRADE = "def upgrade():\n    pass\n"
BAD = {
    "not UTF-8": (b'"""caf\xe9"""\n' + (HEAD + UPGRADE).encode(), "is not UTF-8 .byte 6."),
    "empty": (b"", "names no revision"),
    "a comment": (b"# later\n", "names no revision"),
    "no upgrade": (HEAD.encode(), "has no upgrade function"),
    "syntax": ((HEAD + "def upgrade(:\n").encode(), "is not valid Python, line 3"),
    "a null byte": ((HEAD + "x = '\0'\n").encode(), "is not valid Python"),
    "imports orm": ((HEAD + "from orm import Base\n" + UPGRADE).encode(), "imports orm, which"),
    "imports models": (
        (HEAD + "def upgrade():\n    from models.user import User\n").encode(),
        "imports models.user, which changes over time",
    ),
    "computed": (
        (f'revision = "00" "{0}2".strip()\n' + UPGRADE).encode(),
        "write its revision out",
    ),
    "a merge": (
        b'revision = "0002"\ndown_revision = ("0001", "0000")\n' + UPGRADE.encode(),
        "merge",
    ),
    "a label": ((HEAD + 'branch_labels = ("x",)\n' + UPGRADE).encode(), "sets branch_labels"),
    "a dependency": ((HEAD + 'depends_on = "0001"\n' + UPGRADE).encode(), "sets depends_on"),
}


@COMMAND_LINES
@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_named(project: Project, what: str, command_line: str) -> None:
    content, sentence = BAD[what]
    project.revision(1, "pass")
    project.file("0002_bad.py").write_bytes(content)
    refusal = project.refusal(command_line)
    assert "0002_bad.py" in refusal
    with pytest.raises(MigrationError, match=sentence) as caught:
        read(project.folder / "alembic" / "versions")
    assert str(caught.value) in refusal
    assert project.is_untouched


@COMMAND_LINES
@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("from alembic import nothing_there", "cannot import name 'nothing_there'"),
        ("x = not_defined", "name 'not_defined' is not defined"),
        ("x = 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named(
    project: Project, line: str, cause: str, command_line: str
) -> None:
    project.revision(1, "pass")
    project.file("0002_bad.py").write_text(f"{HEAD}{line}\n{UPGRADE}")
    refusal = project.refusal(command_line)
    assert "0002_bad.py cannot be loaded in line 3" in refusal
    assert cause in refusal
    assert project.tables == set()


def test_other_files_are_passed_over(project: Project) -> None:
    versions = project.folder / "alembic" / "versions"
    for name in (".#0002_lock.py", "__init__.py", "notes.txt"):
        (versions / name).write_text("not a revision")
    project.revision(1, "pass")
    assert [revision.id for revision in read(versions)] == ["0001"]


def test_what_is_read(project: Project) -> None:
    project.file("0001_first.py").write_text(
        '"""First of all.\n\nMore.\n"""\nfrom sqlalchemy.orm import Session\n'
        'revision: str = "0001"\ndown_revision: str | None = None\n'
        "def upgrade() -> None:\n    raise SystemExit\n"
    )
    [revision] = read(project.folder / "alembic" / "versions")
    assert (revision.id, revision.down, revision.name) == ("0001", None, "0001_first")
    assert revision.message == "First of all."


@COMMAND_LINES
def test_what_runs_is_the_text_that_is_recorded(
    project: Project, monkeypatch: pytest.MonkeyPatch, command_line: str
) -> None:
    """Not bytecode of another text, that was as long, and saved at the same time."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    project.revision(1, "op.execute('CREATE TABEL users (id INTEGER)')")
    file = project.file("0001_by_hand.py")
    saved = file.stat()
    project.refusal(command_line)
    project.revision(1, "op.execute('CREATE TABLE users (id INTEGER)')")
    os.utime(file, ns=(saved.st_atime_ns, saved.st_mtime_ns))
    project.upgrade(command_line)
    assert "users" in project.tables


@COMMAND_LINES
def test_what_is_applied_is_not_loaded_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, command_line: str
) -> None:
    helper = project.folder / "helper_of_0001.py"
    helper.write_text("")
    project.file("0001_first.py").write_text(
        'revision = "0001"\ndown_revision = None\nimport helper_of_0001\n' + UPGRADE
    )
    project.upgrade(command_line)
    helper.unlink()
    monkeypatch.delitem(sys.modules, helper.stem)
    project.revision(2, "pass")
    project.upgrade(command_line)
    assert project.ledger == ["0001", "0002"]


@COMMAND_LINES
@pytest.mark.parametrize("setting", ["recursive_version_locations", "sourceless"])
def test_no_revision_is_passed_over(project: Project, setting: str, command_line: str) -> None:
    """What Alembic would run, and was never read."""
    pyproject = project.folder / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace("[tool.alembic]", f"[tool.alembic]\n{setting} = true"))
    project.revision(1, "pass")
    refusal = project.refusal(command_line)
    assert f"{setting} is set, and revisions are source files in one folder" in refusal
    assert project.is_untouched
