from pathlib import Path

import pytest
from alembic.util import CommandError

from orm.exceptions import ConfigurationError
from orm.migrations import target_url
from tests.migrations.support import Project


def test_local_has_a_default(tmp_path: Path) -> None:
    assert str(target_url("local", tmp_path / "pyproject.toml")) == "sqlite+aiosqlite:///app.db"


def test_local_is_what_pyproject_says(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.orm]\nlocal = "sqlite+aiosqlite:///other.db"\n')
    assert target_url("local", file).database == "other.db"


def test_remote_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", "postgresql+asyncpg://u:secret@host/name")
    url = target_url("remote")
    assert (url.host, url.password) == ("host", "secret")


@pytest.mark.parametrize(
    ("target", "message"),
    [("remote", "ORM_REMOTE_URL is not set"), ("staging", "no target 'staging'")],
)
def test_no_such_target(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=message):
        target_url(target, tmp_path / "pyproject.toml")


@pytest.mark.parametrize("value", ["secret", "postgresql://u:p:secret@host:port/name"])
def test_a_malformed_url_is_not_printed(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", value)
    with pytest.raises(ConfigurationError, match="ORM_REMOTE_URL is not a database URL") as caught:
        target_url("remote")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("local", ["5", "'secret'", "[]"])
def test_a_local_target_that_is_no_url(local: str, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(f"[tool.orm]\nlocal = {local}\n")
    with pytest.raises(ConfigurationError, match=r"\[tool.orm\] local in .* is not a database URL"):
        target_url("local", file)


def test_a_broken_pyproject(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.orm")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        target_url("local", file)


# Through the command line ------------------------------------------------------------------


def test_x_target_chooses(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", "sqlite+aiosqlite:///remote.db")
    project.revision(1, "op.create_table('a', sa.Column('id', sa.Integer))")
    project.alembic("-x", "target=remote", "upgrade", "head")
    assert (project.folder / "remote.db").exists()
    assert not project.database.exists()
    project.alembic("-x", "target=local", "upgrade", "head")
    assert "a" in project.tables


@pytest.mark.parametrize("argument", ["remote", "taget=remote", "target", "target=staging"])
def test_a_slip_in_x_touches_nothing(project: Project, argument: str) -> None:
    with pytest.raises(CommandError, match="local"):
        project.alembic("-x", argument, "upgrade", "head")
    assert not project.database.exists()


def test_an_unset_remote_is_said(project: Project) -> None:
    with pytest.raises(CommandError, match="ORM_REMOTE_URL is not set"):
        project.alembic("-x", "target=remote", "upgrade", "head")


def test_a_backend_that_is_not_installed_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", "oracle+oracledb://u:secret@host/name")
    with pytest.raises(CommandError, match="no backend for 'oracle'") as caught:
        project.alembic("-x", "target=remote", "upgrade", "head")
    assert "secret" not in str(caught.value)
