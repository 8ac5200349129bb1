"""pytest-alembic's own tests on this repository's revisions; those of the way back are left out."""

from pathlib import Path

import pytest
from alembic.config import Config
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_upgrade,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["test_model_definitions_match_ddl", "test_single_head_revision", "test_upgrade"]


@pytest.fixture
def alembic_config() -> Config:
    return Config(toml_file=Path(__file__).parents[2] / "pyproject.toml")


@pytest.fixture(params=["sqlite", "postgresql"])
def alembic_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncEngine:
    if request.param == "sqlite":
        return create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/app.db")
    return create_async_engine(request.getfixturevalue("postgresql_url"))
