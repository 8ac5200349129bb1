"""A project that stock Alembic has migrated for years."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.migrations.adopted import StockProject

pytestmark = pytest.mark.slow  # it replays a long history, and runs programs


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StockProject:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv("ORM_REMOTE_URL", raising=False)
    return StockProject(tmp_path)


def test_it(shop):
    assert len(shop.revisions) == 26
    shop.stock("upgrade", "head")
    said = shop.orm("migrations", "adopt")
    print(said.output, said.exception)
    import traceback; traceback.print_exception(said.exception)
    print(next(Path("migrations/versions").glob("*")).read_text()[:3000])
    print(shop.orm("migrations", "list", "--local").output)
    print(shop.orm("migrations", "apply", "--local").output)
    print(shop.orm("migrations", "check", "--local").output)
    assert 0
