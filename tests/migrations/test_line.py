"""History is one line: whatever does not agree is refused with a sentence of its own."""

import json
import re

import pytest
from alembic.util import CommandError

from tests.migrations.support import COMMAND_LINES, ENGINES, Project

pytestmark = ENGINES

TABLE = "op.create_table('t{}', sa.Column('id', sa.Integer))"


@pytest.fixture
def line(project: Project) -> Project:
    """Three revisions, the first two of them applied."""
    project.revision(1, TABLE.format(1))
    project.revision(2, TABLE.format(2))
    project.alembic("upgrade", "head")
    project.revision(3, TABLE.format(3))
    return project


def renumbered(project: Project, number: int, new: int, follows: int) -> str:
    """The text of a revision with other numbers."""
    text = project.file(f"{number:04d}_by_hand.py").read_text()
    text = text.replace(f'revision = "{number:04d}"', f'revision = "{new:04d}"', 1)
    return text.replace(
        f'down_revision = "{number - 1:04d}"', f'down_revision = "{follows:04d}"', 1
    )


def edited(project: Project) -> None:
    file = project.file("0001_by_hand.py")
    file.write_text(file.read_text() + "# one more line\n")


def deleted(project: Project) -> None:
    project.file("0002_by_hand.py").unlink()


def renamed(project: Project) -> None:
    project.file("0002_by_hand.py").rename(project.file("0002_another_name.py"))


def late(project: Project) -> None:
    project.file("0000_late.py").write_text(
        'revision = "0000"\ndown_revision = None\ndef upgrade(): pass\n'
    )


def duplicate(project: Project) -> None:
    text = project.file("0003_by_hand.py").read_text()
    project.file("0003_of_a_colleague.py").write_text(f"# another one\n{text}")


def heads(project: Project) -> None:
    project.file("0004_branch.py").write_text(renumbered(project, 3, 4, follows=2))


def gap(project: Project) -> None:
    project.file("0005_far.py").write_text(renumbered(project, 3, 5, follows=3))


def follows(project: Project) -> None:
    project.file("0004_wrong.py").write_text(renumbered(project, 3, 4, follows=9))


def number(project: Project) -> None:
    project.file("0003_by_hand.py").rename(project.file("0004_by_hand.py"))


def unrecorded(project: Project) -> None:
    project.query("DROP TABLE orm_revisions")


def version(project: Project) -> None:
    project.query("UPDATE alembic_version SET version_num = '0001'")


SENTENCES = {
    edited: "0001_by_hand.py was edited after it was applied",
    deleted: "0002_by_hand.py was applied .* the file is gone",
    renamed: "0002_by_hand.py was applied .* is now 0002_another_name.py: rename it back",
    late: "0000_late.py comes too late, 0002_by_hand.py is applied already",
    duplicate: "0003_by_hand.py and 0003_of_a_colleague.py are both number 3",
    heads: "0003_by_hand.py and 0004_branch.py both follow 0002",
    gap: "0004 is missing between 0003_by_hand.py and 0005_far.py",
    follows: r"0004_wrong.py has down_revision = .0009., and comes after 0003_by_hand.py",
    number: "0004_by_hand.py holds revision '0003'",
    unrecorded: "the database is at revision 0002, and there is no ledger",
    version: "alembic_version says 0001, and the ledger says 0002",
}


@COMMAND_LINES
@pytest.mark.parametrize("change", SENTENCES, ids=lambda change: change.__name__)
def test_what_does_not_agree_is_refused(line: Project, change, command_line: str) -> None:
    change(line)
    before = line.contents
    refusal = line.refusal(command_line)
    assert re.search(SENTENCES[change], refusal)
    assert line.contents == before, "something was touched"


@pytest.mark.parametrize("change", SENTENCES, ids=lambda change: change.__name__)
def test_list_tells(line: Project, change) -> None:
    change(line)
    said = line.orm("list", "--local", "--json")
    assert said.exit_code == 1
    kinds = {finding["kind"] for finding in json.loads(said.stdout)["findings"]}
    assert change.__name__ in kinds


def test_all_is_well(line: Project) -> None:
    said = line.orm("list", "--local", "--json")
    assert said.exit_code == 0
    listed = json.loads(said.stdout)
    assert listed["findings"] == []
    assert [row["state"] for row in listed["revisions"]] == ["applied", "applied", "pending"]


@COMMAND_LINES
def test_line_endings_are_no_edit(line: Project, command_line: str) -> None:
    for name in ("0001_by_hand.py", "0002_by_hand.py"):
        text = line.file(name).read_bytes()
        line.file(name).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    line.upgrade(command_line)
    assert line.ledger == ["0001", "0002", "0003"]


@COMMAND_LINES
def test_each_of_several_is_said(line: Project, command_line: str) -> None:
    edited(line)
    renamed(line)
    refusal = line.refusal(command_line)
    assert "0001_by_hand.py was edited" in refusal
    assert "is now 0002_another_name.py" in refusal


def test_a_script_is_of_one_line_too(line: Project) -> None:
    gap(line)
    with pytest.raises(CommandError, match="0004 is missing"):
        line.alembic("upgrade", "head", "--sql")


@COMMAND_LINES
def test_a_broken_line_makes_no_database(project: Project, command_line: str) -> None:
    project.revision(1, "pass")
    project.revision(3, "pass")
    assert "0002 is missing" in project.refusal(command_line)
    assert project.is_untouched
