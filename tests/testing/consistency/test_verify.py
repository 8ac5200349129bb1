"""`orm verify` on servers that a person has."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orm import Database
from orm.cli import main
from orm.routing.placement import ReadPlacement
from tests.harness.attempts import attempts

pytestmark = pytest.mark.slow  # clients work for a while


def orm(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="orm")


async def verified(what: str, shows: Callable[[Result], bool], *arguments: str) -> Result:
    """What `orm verify` says once it has run for long enough to show something."""
    for attempt in attempts(what):
        duration = str(min(2**attempt, 30))
        result = await asyncio.to_thread(
            orm, "verify", "--local", "--duration", duration, *arguments
        )
        if result.exit_code != 0 or shows(result):
            break
    return result


@pytest.fixture
async def checkout(servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    async with servers.migrated():
        pass
    return tmp_path


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


async def test_verify_says_what_it_has_shown_and_leaves_nothing(checkout: Path) -> None:
    before = tables(checkout / "app.db")
    result = await verified(
        "answers of both replicas",
        lambda result: "by replica-1" in result.output and "by replica-2" in result.output,
    )
    assert result.exit_code == 0, result.output
    assert "No violation of:\n  read your writes" in result.output
    assert "Not shown by this run:\n  anything about failover" in result.output
    assert tables(checkout / "app.db") == before


async def test_other_processes_write_meanwhile_and_end(checkout: Path) -> None:
    def shows(result: Result) -> bool:
        report = json.loads(result.output)
        moved = report["moves"].get("from one replica to another", 0)
        return moved > 0 and 0 < report["foreign"] < report["commits"]

    result = await verified("commits of all, and moves between replicas", shows, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["processes"] == 3
    alone = await asyncio.to_thread(
        orm, "verify", "--local", "--duration", "0.2", "--writers", "0", "--json"
    )
    assert json.loads(alone.output)["foreign"] == 0
    assert "anything about what other processes write" in alone.output


def processes(folder: Path) -> list[int]:
    """Those whose command line names something in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_writers_end_with_the_command(checkout: Path, by: signal.Signals) -> None:
    """By Ctrl-C, which also removes the tables; and where nothing can be done any more."""
    before, folder = tables(checkout / "app.db"), checkout / "temporary"
    folder.mkdir()
    command = [sys.executable, "-m", "orm.cli", "verify", "--local"]
    with subprocess.Popen(
        command,
        cwd=checkout,
        env=os.environ | {"TMPDIR": str(folder)},
        stderr=subprocess.DEVNULL,
        # A shell's job in the background ignores Ctrl-C, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as verify:
        while sum(file.stat().st_size > 0 for file in folder.glob("*/w*.history")) != 2:
            assert verify.poll() is None
            time.sleep(0.05)
        assert len(processes(folder)) == 2
        verify.send_signal(by)
        verify.wait(60)
    end = time.monotonic() + 60
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(folder) == []
    if by is signal.SIGINT:
        assert tables(checkout / "app.db") == before
        assert not any(folder.iterdir())


async def test_a_writer_that_cannot_start_is_an_error(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    result = await asyncio.to_thread(orm, "verify", "--local", "--duration", "1")
    assert result.exit_code == 3
    assert "the writer process w1 did not start" in result.output
    assert "orm_verify_log" not in tables(checkout / "app.db")


async def test_verify_answers_programs(checkout: Path) -> None:
    def shows(result: Result) -> bool:
        report = json.loads(result.output)
        return report["operations"] > 10 and 0 < report["linked"] < report["sessions"]

    result = await verified("sessions with bookmarks and without", shows, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["violations"] == []


async def test_verify_finds_what_is_broken(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ReadPlacement, "_may_read", lambda self, unit, server, connection: bool(connection.begin())
    )
    monkeypatch.setattr("orm.servers.server.Server.covers", lambda *_: True)
    result = await verified("a violation", lambda _: False)
    assert result.exit_code == 1, result.output
    assert "BROKEN" in result.output
    assert "orm_verify_log" not in tables(checkout / "app.db")


async def test_verify_of_a_primary_alone_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Database("sqlite+aiosqlite:///app.db"):
        pass
    result = await asyncio.to_thread(orm, "verify", "--local", "--duration", "0.2")
    assert result.exit_code == 0, result.output
    assert "anything about replicas: there are none" in result.output


def test_verify_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = orm("verify", "--local")
    assert result.exit_code == 3
    assert "there is no pyproject.toml" in result.output
    (tmp_path / "pyproject.toml").touch()
    result = orm("verify", "--local")
    assert result.exit_code == 3
    assert "unable to open database file" in result.output
    assert [file.name for file in tmp_path.iterdir()] == ["pyproject.toml"]
