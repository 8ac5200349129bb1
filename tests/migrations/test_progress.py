"""What ``apply`` shows while it runs."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.migrations.support import Project

ORM = "from orm.cli import main; main()"
LONG = "0002_a_name_as_long_as_names_of_files_can_bexx"


def on_a_terminal(project: Project, *arguments: str, columns: int) -> str:
    """What the command prints on a terminal of that width."""
    ours, its = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-c", ORM, "migrations", *arguments]
    with subprocess.Popen(command, cwd=project.folder, env=env, stdout=its, stdin=its) as process:
        os.close(its)
        said = b""
        try:
            while more := os.read(ours, 4096):
                said += more
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    assert process.returncode == 0, said
    return said.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_shows_one_line_that_names_what_runs(project: Project, columns: int) -> None:
    for number in (1, 2, 3):
        project.revision(number, f"op.create_table('t{number}', sa.Column('id', sa.Integer))")
    project.file("0002_by_hand.py").rename(project.file(f"{LONG}.py"))
    said = on_a_terminal(project, "apply", "--local", columns=columns)
    lines = [re.sub(r"\x1b\[[?\d]*[a-z]", "", line).strip() for line in said.split("\r")]
    shown = [line for line in lines if line.startswith("Applying")]
    assert max(map(len, shown)) <= columns
    for at, name in enumerate(["0001_by_hand", LONG, "0003_by_hand"]):
        [running] = (line for line in shown if f"  {at}/3  " in line)
        _, _, named = running.partition("/3  ")
        assert name.startswith(named.rstrip("…"))
        assert named.startswith(name[:7])
    assert shown[-1].endswith("3/3")


def test_no_color(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    table = 't = Table("t", metadata, Column("id", Integer, primary_key=True){})'
    project.models(table.format(', Column("x", Integer)'))
    assert project.orm("create", "first").exit_code == 0
    project.models(table.format(""))
    monkeypatch.delenv("NO_COLOR", raising=False)
    said = on_a_terminal(project, "create", "drop x", columns=80)
    assert "\x1b[33m" in said
    project.file("0002_drop_x.py").unlink()
    monkeypatch.setenv("NO_COLOR", "1")
    said = on_a_terminal(project, "create", "drop x", columns=80)
    assert "0002_drop_x.py" in said
    assert "\x1b[" not in said


def test_a_program_reads_why_nothing_is_applied(project: Project) -> None:
    project.revision(1, "pass")
    project.upgrade("orm")
    project.file("0001_by_hand.py").write_text(project.file("0001_by_hand.py").read_text() + "#")
    for more in ((), ("--dry-run",)):
        said = project.orm("apply", "--local", "--json", *more)
        assert said.exit_code == 1
        told = json.loads(said.stdout)
        assert told["applied"] == []
        assert [one["kind"] for one in told["findings"]] == ["edited"]
