"""`orm init`: an application from nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orm.cli import main
from tests.migrations.adopted import StockProject

REPOSITORY = Path(__file__).parents[1]
TEMPLATE = REPOSITORY / "orm" / "cli" / "template"


def init(folder: Path) -> Result:
    return CliRunner().invoke(main, ["init", str(folder)], prog_name="orm")


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text("utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_what_it_writes_works(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    result = init(folder)
    assert result.exit_code == 0, result.output
    assert {line.removeprefix(f"wrote {folder}/") for line in result.output.splitlines()} == {
        ".gitignore", "alembic/env.py", "alembic/script.py.mako", "models.py", "pyproject.toml",
    }  # fmt: skip
    run(folder, "orm.cli", "migrations", "create", "create users")
    run(folder, "orm.cli", "migrations", "check")
    run(folder, "alembic", "upgrade", "head")
    assert "0001_create_users  applied" in run(folder, "orm.cli", "migrations", "list", "--local")


@pytest.mark.parametrize("name", ["env.py", "script.py.mako"])
def test_this_repository_has_the_same_files(name: str) -> None:
    assert (REPOSITORY / "alembic" / name).read_text() == (TEMPLATE / f"{name}.txt").read_text()


def test_this_repository_has_the_same_settings() -> None:
    ours = (REPOSITORY / "pyproject.toml").read_text()
    assert (TEMPLATE / "pyproject.toml.txt").read_text() in ours


@pytest.mark.parametrize("name", ["env.py", "script.py.mako"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "alembic").mkdir()
    (tmp_path / "alembic" / name).write_text("mine")
    result = init(tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path} has alembic/{name} already")
    assert contents(tmp_path) == {f"alembic/{name}": "mine"}


@pytest.mark.parametrize("models", ["models.py", "models/__init__.py"])
def test_what_is_there_stays(tmp_path: Path, models: str) -> None:
    (tmp_path / models).parent.mkdir(exist_ok=True)
    (tmp_path / models).write_text("mine")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    result = init(tmp_path)
    assert result.exit_code == 0, result.output
    found = contents(tmp_path)
    assert (found[models], found["pyproject.toml"]) == ("mine", "[project]\n")
    assert set(found) == {
        models, "pyproject.toml", ".gitignore", "alembic/env.py", "alembic/script.py.mako",
    }  # fmt: skip
    assert f"Add to {tmp_path}/pyproject.toml:\n\n# Where" in result.output
    assert "[tool.orm]\nlocal = " in result.output


@pytest.mark.parametrize(
    "environment",
    [
        (TEMPLATE / "env.py.txt").read_text(),
        "import orm\nfrom a import B\n\norm.migrations.run(B.metadata)\n",
        "from a import B\nfrom orm.migrations import run\n\nrun(B.metadata)\n",
    ],
)
@pytest.mark.parametrize("ini", [True, False])
@pytest.mark.parametrize("location", ["%(here)s/db/own", "db/own"])
def test_no_second_history_is_begun(
    tmp_path: Path, environment: str, ini: bool, location: str
) -> None:
    (tmp_path / "db/own/versions").mkdir(parents=True)
    (tmp_path / "db/own/env.py").write_text(environment)
    (tmp_path / "db/own/versions/0001_first.py").write_text('revision = "0001"\n')
    settings = f'[tool.alembic]\nscript_location = "{location}"\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    if ini:
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    before = contents(tmp_path)
    result = init(tmp_path)
    assert result.exit_code == 1
    assert "revisions are in db/own/versions already: 0001_first. Nothing was" in result.stderr
    assert contents(tmp_path) == before


def test_what_it_makes_is_left_out_of_git(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc\n/app.db*\n")
    assert init(tmp_path).exit_code == 0
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines == ["*.pyc", "/app.db*", "/app.before-*", "/app.replica-*", "*.py.*.old"]


BASE = "from sqlalchemy.orm import DeclarativeBase\n\n\nclass Model(DeclarativeBase):\n    pass\n"
PERSON = """\
from sqlalchemy.orm import Mapped, mapped_column

from shop.db import Model


class Person(Model):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
"""


@pytest.mark.slow
def test_models_are_found_wherever_they_are(tmp_path: Path) -> None:
    for name, text in {"__init__": "", "db": BASE, "people": PERSON}.items():
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop" / f"{name}.py").write_text(text)
    result = init(tmp_path)
    assert result.exit_code == 0, result.output
    assert "Found the models: alembic/env.py migrates Model.metadata" in result.output
    assert "orm migrations baseline 0001 --local" in result.output
    assert not (tmp_path / "models.py").exists()
    run(tmp_path, "orm.cli", "migrations", "create", "first")
    run(tmp_path, "orm.cli", "migrations", "apply", "--local")
    assert "All is well" in run(tmp_path, "orm.cli", "migrations", "check", "--local")
    assert "people" in next((tmp_path / "alembic" / "versions").glob("*.py")).read_text()


@pytest.mark.slow
def test_a_project_with_alembic_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    StockProject(tmp_path)
    result = init(tmp_path)
    assert result.exit_code == 0, result.output
    assert "Found alembic.ini: 26 revisions" in result.output
    assert "orm migrations apply --remote" in result.output
    assert not (tmp_path / "models.py").exists()
    run(tmp_path, "orm.cli", "migrations", "apply", "--local")


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "alembic").write_text("a file")
    result = init(tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert contents(tmp_path) == {"alembic": "a file"}
