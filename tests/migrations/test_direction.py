"""Forward only: what leads elsewhere is refused, and nothing is changed."""

import subprocess
import sys

import pytest
from alembic.util import CommandError

from tests.migrations.support import COMMAND_LINES, ENGINES, Project

pytestmark = ENGINES


@pytest.fixture
def applied(project: Project) -> Project:
    """Three revisions, the first two of them applied."""
    for number in (1, 2):
        project.revision(number, f"op.create_table('t{number}', sa.Column('id', sa.Integer))")
    project.alembic("upgrade", "head")
    project.revision(3, "pass")
    return project


BACKWARD = {
    "downgrade -1": "only go forward",
    "downgrade base": "only go forward",
    "downgrade 0002:0001 --sql": "only go forward",
    "stamp 0001": "orm migrations baseline",
    "stamp 0003": "orm migrations baseline",
    "stamp head": "orm migrations baseline",
    "stamp base": "orm migrations baseline",
    "stamp --purge 0002": "orm migrations baseline",
    "stamp --purge base": "orm migrations baseline",
    "stamp 0003 --sql": "orm migrations baseline",
    "merge heads -m together": "nothing to merge",
}


@pytest.mark.parametrize("command", BACKWARD)
def test_alembic_refuses(applied: Project, command: str) -> None:
    before, files = applied.contents, applied.revisions
    with pytest.raises(CommandError, match=BACKWARD[command]):
        applied.alembic(*command.split())
    assert applied.contents == before
    assert applied.revisions == files


def test_the_command_says_it_in_a_line_and_fails(applied: Project) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "alembic", "stamp", "--purge", "base"],
        cwd=applied.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode != 0
    assert said.stdout.startswith("FAILED: a stamp would make the database say")
    assert "Traceback" not in said.stderr


@COMMAND_LINES
def test_a_revision_with_a_way_back_is_refused(applied: Project, command_line: str) -> None:
    file = applied.file("0003_by_hand.py")
    file.write_text(file.read_text() + "\ndef downgrade():\n    pass\n")
    before = applied.contents
    assert "0003_by_hand.py has a downgrade function" in applied.refusal(command_line)
    assert applied.contents == before


def test_apply_does_not_go_back(applied: Project) -> None:
    said = applied.orm("apply", "--local", "--to", "0001")
    assert said.exit_code == 0
    assert "Nothing to apply" in said.output
    assert applied.applied == ["0002"]
