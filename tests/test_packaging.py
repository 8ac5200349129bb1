import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import orm
from orm.backends import backend_for, register
from orm.backends.sqlite import SQLiteBackend
from orm.exceptions import ConfigurationError

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_entry_point_leads_somewhere() -> None:
    ours = distribution("bookmark-orm").entry_points
    assert {(entry.group, entry.name) for entry in ours} >= {
        ("console_scripts", "orm"),
        ("orm.backends", "sqlite"),
    }
    for entry in ours:  # pytest and Alembic take a module
        assert callable(entry.load()) or entry.group in ("pytest11", "alembic.plugins")


def test_backends_are_found_by_the_name_in_a_url() -> None:
    assert "sqlite" in entry_points(group="orm.backends").names


def test_the_package_knows_its_version() -> None:
    assert orm.__version__ == PROJECT["version"]


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{PROJECT['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")


# dev.py, in a folder of its own ------------------------------------------------------------


def dev(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("dev.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    return subprocess.run(
        [sys.executable, str(folder / "dev.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_dev_explains_itself(tmp_path: Path) -> None:
    for arguments in ([], ["tset"], ["lint", "orm"]):
        said = dev(tmp_path, *arguments)
        assert said.returncode == 2
        assert "python3 dev.py test" in said.stdout


def test_dev_leaves_an_environment_that_it_did_not_make_alone(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "precious").touch()
    said = dev(tmp_path, "test")
    assert said.returncode == 1
    assert "was not made by dev.py" in said.stderr
    assert (tmp_path / ".venv" / "precious").exists()


def test_a_backend_that_is_registered_is_used_instead_of_an_installed_one() -> None:
    with pytest.raises(ConfigurationError, match="no backend for 'registered' URLs"):
        backend_for("registered://host/name")
    register("registered", SQLiteBackend)
    first = backend_for("registered+driver://host/name")
    assert isinstance(first, SQLiteBackend)
    assert backend_for("registered://host/name") is first
    register("registered", SQLiteBackend)
    assert backend_for("registered://host/name") is not first


def test_two_backends_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        folder = tmp_path / f"other{number}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: other{number}\nVersion: 1\n"
        )
        (folder / "entry_points.txt").write_text(f"[orm.backends]\nother = other{number}:Backend\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="other1:Backend, other2:Backend"):
        backend_for("other://host/name")
