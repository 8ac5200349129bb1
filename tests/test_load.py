"""A slice of the load run: read your writes under load, while a replica is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs a program

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("servers_of", [(), ("--postgresql",)], ids=["SQLite", "PostgreSQL"])
def test_no_client_sees_the_past_nor_an_error(servers_of: tuple[str, ...]) -> None:
    command = (sys.executable, "-m", "benchmarks.load", "--clients=20", "--seconds=3", *servers_of)
    run = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 stale reads, 0 errors, 0 connections still out" in run.stdout
    ours = [line for line in run.stdout.splitlines() if line.startswith("ours  ")]
    assert ours
    assert not any(" 0 reads from replicas" in line for line in ours)
