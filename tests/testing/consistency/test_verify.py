"""`orm verify` on servers that a person has."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orm import Database
from orm.cli import main
from orm.routing.placement import ReadPlacement

pytestmark = pytest.mark.slow  # clients work for a while


def orm(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="orm")


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
    result = await asyncio.to_thread(orm, "verify", "--local", "--duration", "1")
    assert result.exit_code == 0, result.output
    assert "No violation of:\n  read your writes" in result.output
    assert "by replica-1" in result.output and "by replica-2" in result.output
    assert "Not shown by this run:\n  anything about failover" in result.output
    assert tables(checkout / "app.db") == before


async def test_verify_answers_programs(checkout: Path) -> None:
    result = await asyncio.to_thread(orm, "verify", "--local", "--duration", "0.5", "--json")
    report = json.loads(result.output)
    assert report["violations"] == []
    assert report["operations"] > 10
    assert 0 < report["linked"] < report["sessions"]


async def test_verify_finds_what_is_broken(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ReadPlacement, "_may_read", lambda self, unit, server, connection: bool(connection.begin())
    )
    monkeypatch.setattr("orm.servers.server.Server.covers", lambda *_: True)
    result = await asyncio.to_thread(orm, "verify", "--local", "--duration", "2")
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
