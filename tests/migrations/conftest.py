import sys
from pathlib import Path

import pytest

from tests.migrations.support import Project

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty application in the working directory, with this repository's template."""
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    template = REPOSITORY / "alembic" / "script.py.mako"
    (tmp_path / "alembic" / template.name).write_text(template.read_text())
    (tmp_path / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/alembic"\nprepend_sys_path = ["%(here)s"]\n'
        "revision_environment = true\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # Alembic puts the folder in front
    # Files change faster here than the clock that would tell that their bytecode is old.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    made = Project(tmp_path, {})
    made.models("")
    return made
