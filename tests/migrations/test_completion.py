"""What a shell completes."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.migrations.support import Project

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")

ORM = "from orm.cli import main; main(prog_name='orm')"
TAB = """
orm() {{ {orm} "$@"; }}
env() {{ local -a set; while [[ $1 == *=* ]]; do set+=("$1"); shift; done
  shift; command env "${{set[@]}}" {orm}; }}
eval "$(_ORM_COMPLETE=bash_source {orm})"
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_orm_completion orm
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
"""Bash's way: the function that it calls for a Tab."""


def completed(project: Project, words: str) -> list[str]:
    """What bash offers after these words."""
    orm = f"{shlex.quote(sys.executable)} -c {shlex.quote(ORM)}"
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB.format(orm=orm, words=words)],
        cwd=project.folder,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def three(project: Project) -> Project:
    for number in (1, 2, 3):
        project.revision(number, "pass")
    return project


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("orm migrations show ''", ["0001", "0002", "0003"]),
        ("orm migrations show 0002", ["0002"]),
        ("orm migrations show 1", []),
        ("orm migrations baseline 000", ["0001", "0002", "0003"]),
        ("orm migrations apply --local --to 000", ["0001", "0002", "0003"]),
        ("orm migrations export --baseline 000", ["0001", "0002", "0003"]),
        ("orm migrations repair 0002 0", ["0001", "0003"]),
        ("orm migrations ren", ["renumber"]),
    ],
)
def test_revisions_are_offered(three: Project, words: str, offered: list[str]) -> None:
    assert completed(three, words) == offered
    assert three.is_untouched


def test_a_file_that_is_no_revision_does_not_disturb(three: Project) -> None:
    three.file("0004_by_hand.py").write_text("no python")
    assert completed(three, "orm migrations show ''") == []
