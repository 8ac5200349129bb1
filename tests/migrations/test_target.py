import json
import secrets
import socket
from pathlib import Path

import psycopg
import pytest
from alembic.util import CommandError
from click.testing import CliRunner
from sqlalchemy import make_url

from orm.cli import main
from orm.exceptions import ConfigurationError
from orm.migrations import target_url
from orm.testing.postgresql import Cluster
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


def test_the_end_of_a_password_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_REMOTE_URL", "postgresql+asyncpg://u:pass@word@host/name")
    for command in (["migrations", "list", "--remote"], ["status", "--remote"]):
        said = CliRunner().invoke(main, command)
        assert said.exit_code == 1
        assert "the postgresql URL has an @ in its user name or password: write %40" in said.output
        assert "word@" not in said.output


@pytest.mark.parametrize("local", ["5", "'secret'", "[]"])
def test_a_local_target_that_is_no_url(local: str, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(f"[tool.orm]\nlocal = {local}\n")
    with pytest.raises(ConfigurationError, match=r"\[tool.orm\] local in .* is not a database URL"):
        target_url("local", file)


def test_a_setting_that_there_is_not(project: Project) -> None:
    pyproject = project.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + '[tool.orm]\nengine = ["sqlite", "postgresql"]\n')
    for command in (["check"], ["list", "--local"]):
        said = project.orm(*command)
        assert said.exit_code == 1
        assert "has engine, which is no setting of it: there are local, engines, " in said.stderr


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


# Databases that cannot be used -------------------------------------------------------------

LOOKING = (("list", "--remote"), ("check", "--remote"), ("apply", "--remote", "--yes"))


def refused(project: Project, url: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What each command that needs the remote database says, in our command line and Alembic's."""
    monkeypatch.setenv("ORM_REMOTE_URL", url)
    project.revision(1, "op.create_table('a', sa.Column('id', sa.Integer))")
    said = set()
    for command in LOOKING:
        result = project.orm(*command)
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1
        said.add(result.stderr.removeprefix("Error: ").strip())
    for alembic in ("current", "upgrade head"):
        with pytest.raises(CommandError) as caught:
            project.alembic("-x", "target=remote", *alembic.split())
        said.add(str(caught.value))
    assert not any("secret" in sentence for sentence in said)
    return said


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("address", ["127.0.0.1:1/name", "nowhere.invalid/name"])
def test_a_server_out_of_reach_is_named(
    project: Project, driver: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(project, f"postgresql+{driver}://user:secret@{address}", monkeypatch)
    for sentence in said:
        assert sentence.startswith(f"cannot connect to postgresql+{driver}://user:***@{address}: ")
        assert "\n" not in sentence


@pytest.mark.slow
def test_a_server_that_says_nothing_is_given_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.revision(1, "op.create_table('a', sa.Column('id', sa.Integer))")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+asyncpg://user@127.0.0.1:{silent.getsockname()[1]}/name"
        monkeypatch.setenv("ORM_REMOTE_URL", url)
        said = project.orm("list", "--remote")
    assert said.exit_code == 1
    assert said.stderr == f"Error: cannot connect to {url}: it took too long to connect\n"


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_database_that_is_not_there_is_named(
    project: Project, driver: str, postgresql: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.primary.url(driver, database="nothing")
    for sentence in refused(project, url, monkeypatch):
        assert sentence.startswith(f"cannot connect to {url}: ")
        assert sentence.endswith('database "nothing" does not exist')


def test_a_file_that_is_no_database_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "other.db").write_text("something else altogether")
    said = refused(project, "sqlite+aiosqlite:///other.db", monkeypatch)
    assert said == {"cannot connect to sqlite+aiosqlite:///other.db: file is not a database"}


def test_a_folder_is_no_database(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "other.db").mkdir()
    for sentence in refused(project, "sqlite+aiosqlite:///other.db", monkeypatch):
        start = "cannot connect to sqlite+aiosqlite:///other.db: unable to open database file"
        assert sentence.startswith(start)


def test_what_an_account_may_not_do_is_said(
    project: Project, postgresql: Cluster, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"account_{secrets.token_hex(6)}"
    with psycopg.connect(postgresql.primary.url("psycopg").replace("+psycopg", "")) as server:
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    url = make_url(postgresql_url).set(username=name, password="secret")
    monkeypatch.setenv("ORM_REMOTE_URL", url.render_as_string(False))
    project.revision(1, "op.create_table('a', sa.Column('id', sa.Integer))")
    said = project.orm("apply", "--remote", "--yes").stderr
    first, second = said.splitlines()
    assert first == f"Error: {url.render_as_string()}: permission denied for schema public"
    assert second.startswith("The statement: CREATE TABLE orm_revisions (")
    with pytest.raises(CommandError, match="permission denied for schema public"):
        project.alembic("-x", "target=remote", "upgrade", "head")
    with psycopg.connect(postgresql.primary.url("psycopg").replace("+psycopg", "")) as server:
        server.execute(f"DROP ROLE {name}")


def test_the_environment_names_the_local_database_and_its_replicas(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.revision(1, "op.create_table('t', sa.Column('id', sa.Integer))")
    for name in ("mine", "copy"):
        monkeypatch.setenv("ORM_LOCAL_URL", f"sqlite+aiosqlite:///{project.folder}/{name}.db")
        assert project.orm("apply", "--local").exit_code == 0
        assert (project.folder / f"{name}.db").exists()
    assert project.is_untouched
    copy = f"sqlite+aiosqlite:///{project.folder}/copy.db"
    monkeypatch.setenv("ORM_LOCAL_URL", f"sqlite+aiosqlite:///{project.folder}/mine.db")
    monkeypatch.setenv("ORM_LOCAL_REPLICAS", f"{copy} {copy}")
    said = CliRunner().invoke(main, ["status", "--local", "--json"])
    assert [server["name"] for server in json.loads(said.stdout)] == [
        "primary", "replica-1", "replica-2",
    ]  # fmt: skip
    monkeypatch.setenv("ORM_LOCAL_URL", "not a URL")
    assert "ORM_LOCAL_URL is not a database URL" in project.orm("list", "--local").output
