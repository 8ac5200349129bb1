"""Projects that keep their own Alembic, and take only the sessions."""

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from orm import Database
from tests.migrations.adopted import StockProject

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StockProject:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    if request.param == "sqlite":
        return StockProject(tmp_path)
    return StockProject(tmp_path, request.getfixturevalue("postgresql_url"))


def asynchronous(project: StockProject) -> str:
    return project.url.replace("sqlite:", "sqlite+aiosqlite:")


async def use(project: StockProject) -> None:
    async with Database(asynchronous(project)) as db, db.begin() as session:
        await session.execute(text("UPDATE thing_00 SET name = 'a'"))


def test_stock_alembic_leaves_the_tables_of_the_library_alone(shop: StockProject) -> None:
    shop.stock("upgrade", "head")
    asyncio.run(use(shop))
    shop.query("CREATE TABLE orm_revisions (revision VARCHAR PRIMARY KEY)")  # from a trial
    assert "No new upgrade operations" in shop.stock("check")
    shop.stock("revision", "--autogenerate", "-m", "idle")
    [written] = (shop.folder / "alembic" / "versions").glob("*_idle.py")
    assert "orm_" not in written.read_text()
    shop.query("CREATE TABLE by_hand (id INTEGER)")
    shop.stock("upgrade", "head")
    shop.stock("revision", "--autogenerate", "-m", "by hand")
    [written] = (shop.folder / "alembic" / "versions").glob("*_by_hand.py")
    assert "op.drop_table('by_hand')" in written.read_text()
    assert "orm_" not in written.read_text()
