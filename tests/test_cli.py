"""`orm …` as a person or a script calls it."""

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from models import User
from orm.cli import main
from orm.testing import paused


def orm(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="orm")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("targets", [[], ["--local", "--remote"]])
def test_status_takes_exactly_one_target(checkout: Path, targets: list[str]) -> None:
    result = orm("status", *targets)
    assert result.exit_code == 2
    assert "exactly one of --local" in result.output


def test_status_of_a_remote_without_a_url(checkout: Path) -> None:
    result = orm("status", "--remote")
    assert result.exit_code == 1
    assert "ORM_REMOTE_URL" in result.output


def test_status_of_a_database_that_is_not_there(checkout: Path) -> None:
    (checkout / "pyproject.toml").touch()
    result = orm("status", "--local")
    assert result.exit_code == 1
    assert "unable to open database file" in result.output
    assert [file.name for file in checkout.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize(("command", "code"), [("status", 1), ("verify", 3)])
def test_a_subfolder_has_the_local_database_of_its_application(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    folder = checkout / "my app"
    (folder / "models").mkdir(parents=True)
    monkeypatch.chdir(folder / "models")
    elsewhere = orm(command, "--local")
    assert elsewhere.exit_code == code
    assert elsewhere.output.endswith("go to the application's folder\n")
    (folder / "pyproject.toml").write_text("[tool.orm]\n")
    below = orm(command, "--local")
    assert below.exit_code == code
    assert f"{folder}/app.db does not exist" in below.output
    assert [*(folder / "models").iterdir()] == []


def test_status_of_what_is_no_url(checkout: Path) -> None:
    result = orm("status", "--local", "--replica", "nonsense")
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Error:" in result.output


async def test_status_shows_who_is_behind(servers, checkout: Path) -> None:
    async with servers.migrated() as db, paused(db):
        async with db.begin() as session:
            session.add(User(email="a"))
        shown = await asyncio.to_thread(orm, "status", "--local")
        answered = await asyncio.to_thread(orm, "status", "--local", "--json")
    assert [line.split()[:5] for line in shown.output.splitlines()] == [
        ["primary", "primary", "up", "to", "date"],
        ["replica-1", "replica", "1", "commit", "behind"],
        ["replica-2", "replica", "1", "commit", "behind"],
    ]
    told = json.loads(answered.output)
    assert [server["behind"] for server in told] == [0, 1, 1]
    assert all(f":///{checkout}/app" in server["url"] for server in told)
    assert shown.output.count(f":///{checkout}/app") == 3
    assert shown.exit_code == answered.exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--duration", "0"),
        ("--duration", "-1"),
        ("--duration", "nan"),
        ("--duration", "inf"),
        ("--writers", "-1"),
    ],
)
def test_verify_refuses_a_run_that_could_find_nothing(
    checkout: Path, options: tuple[str, str]
) -> None:
    result = orm("verify", "--local", *options)
    assert result.exit_code == 2
    assert options[0] in result.output
    assert "range" in result.output or "is not a valid number of seconds" in result.output


def test_the_demo_says_when_its_port_is_taken(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = orm("demo", "--no-open", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1
    assert "give another --port" in result.output


def test_the_demo_says_what_to_install(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not there
    monkeypatch.delitem(sys.modules, "orm.demo.server", raising=False)
    result = orm("demo")
    assert result.exit_code == 1
    assert "install bookmark-orm[demo], or use --once" in result.output
