"""This repository's own migrations, through the `alembic` command, from a clean checkout."""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from orm.cli import main

pytestmark = pytest.mark.slow  # each runs a program

REPOSITORY = Path(__file__).parents[2]
FIRST = "0001_create_users_and_posts.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the migrations are made of, in a path with a space."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name in ("alembic", "models"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    return folder


def alembic(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_clean_checkout_is_migrated(checkout: Path) -> None:
    assert alembic(checkout, "upgrade", "head").returncode == 0
    assert alembic(checkout, "check").stdout == "No new upgrade operations detected.\n"
    assert alembic(checkout, "current").stdout == "0001 (head)\n"
    assert alembic(checkout, "history").stdout.startswith("<base> -> 0001 (head), create users")
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
    with closing(sqlite3.connect(checkout / "app.db")) as connection:
        schema = "\n".join(sql for (sql,) in connection.execute(query))
    assert schema.count("AUTOINCREMENT") == 2
    assert "ON DELETE CASCADE" in schema
    assert "INDEX ix_posts_user_id" in schema

    refused = alembic(checkout, "downgrade", "base")
    assert refused.returncode != 0
    assert refused.stdout.startswith("FAILED: migrations only go forward")
    assert "Traceback" not in refused.stderr
    assert alembic(checkout, "current").stdout == "0001 (head)\n"


def test_a_server_is_migrated(
    checkout: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", postgresql_url)
    remote = ("-x", "target=remote")
    assert alembic(checkout, *remote, "upgrade", "head").returncode == 0
    assert alembic(checkout, *remote, "check").stdout == "No new upgrade operations detected.\n"
    assert alembic(checkout, *remote, "current").stdout == "0001 (head)\n"
    assert not (checkout / "app.db").exists()
    monkeypatch.chdir(checkout)
    said = CliRunner().invoke(main, ["migrations", "check", "--remote"])
    assert (said.exit_code, said.output) == (0, "All is well.\n")


def test_the_first_revision_is_what_autogenerate_writes(checkout: Path) -> None:
    for file in (checkout / "alembic" / "versions").glob("*.py"):
        file.unlink()
    said = alembic(checkout, "revision", "--autogenerate", "-m", "create users and posts")
    assert said.returncode == 0, said.stdout + said.stderr
    written, kept = (
        re.sub("Created .*", "", (folder / "alembic" / "versions" / FIRST).read_text())
        for folder in (checkout, REPOSITORY)
    )
    assert written == kept


def test_the_folder_of_revisions_does_not_hide_alembic() -> None:
    assert not (REPOSITORY / "alembic" / "__init__.py").exists()
