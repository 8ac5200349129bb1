import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs a program

ROOT = Path(__file__).parents[1]
REPLICAS = ["replica-1", "replica-2"]


def run(*command: str | Path, folder: Path = ROOT, **variables: str) -> list[str]:
    """What a Python program prints, line by line, when it succeeds."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_demo_tells_its_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()

    for _ in range(5):
        lines = run("-m", "orm.cli", "demo", "--once", folder=folder, TMPDIR=str(temporary))
        reads = [line.split() for line in lines if line[:1].isdigit()]
        outcome = [next(word for word in read if word in ("found", "missing")) for read in reads]
        served_by = [read[read.index(what) + 1] for read, what in zip(reads, outcome, strict=True)]
        behind = [tuple(int(commits) for commits in read[-2:]) for read in reads]
        # The second and third are the primary's, but for a machine that stood still meanwhile.
        assert served_by[0] in REPLICAS
        assert behind[3][REPLICAS.index(served_by[3])] == 0
        if outcome[0] == "missing":
            break
        # It stood still before the first one, until the replica had caught up: once more.
        assert behind[0][REPLICAS.index(served_by[0])] == 0
    assert outcome == ["missing", "found", "found", "found"]

    assert all(len(line) < 80 and line.isascii() and "\x1b" not in line for line in lines)
    assert not [*folder.iterdir(), *temporary.iterdir()]


LONG_DEMO = """\
from orm.cli import main
from orm.demo import terminal

terminal.LAGS = (600.0, 600.0)  # the first replica is waited for before the last read
main(["demo", "--once"])
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is not a signal to one process there")
def test_the_demo_leaves_nothing_behind_when_interrupted(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", LONG_DEMO],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell has what it runs in the background ignore it, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as demo:
        assert demo.stdout is not None
        while not demo.stdout.readline().startswith(b"1 "):
            assert demo.poll() is None
        assert list(tmp_path.iterdir())
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=120)
    assert (demo.returncode, errors) == (130, b"")
    assert not list(tmp_path.iterdir())


def test_the_first_example_runs_again_and_again(tmp_path: Path) -> None:
    alembic = "-m", "alembic", "-c", ROOT / "pyproject.toml"
    run(*alembic, "upgrade", "head", folder=tmp_path)
    for _ in range(2):
        own, later = run(ROOT / "examples" / "first.py", folder=tmp_path)
        title, _, served_by = own.partition(" read from ")
        assert title.startswith("'Hello from ")
        assert served_by
        assert later.startswith(title)
