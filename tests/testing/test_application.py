"""Fixtures for the tests of applications, on this repository as the application."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from models import User
from orm import Database
from orm.exceptions import ConfigurationError
from orm.testing import caught_up, paused, reads_from
from orm.testing.mysql.programs import find
from tests.conftest import APPLICATIONS

pytestmark = pytest.mark.slow  # each runs a program

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session", params=["aiosqlite", "asyncpg", "psycopg", *APPLICATIONS])
def orm_driver(request: pytest.FixtureRequest) -> Any:
    if request.param in APPLICATIONS:
        try:
            find(request.param.partition("+")[0])
        except ConfigurationError as error:
            pytest.skip(str(error))
    return request.param


async def emails(db: Database, start: str | None = None) -> list[str]:
    async with db.session(start) as session:
        return list(await session.scalars(select(User.email)))


@pytest.mark.parametrize("turn", [1, 2])  # whichever comes first leaves nothing to the other
async def test_what_is_committed_is_for_one_test(orm_database: Database, turn: int) -> None:
    async with orm_database as db:
        assert await emails(db) == []
        async with db.begin() as session, session.begin_nested():
            session.add(User(email="a"))
        token = await session.bookmark()
        with pytest.raises(IntegrityError):
            async with db.begin() as session:
                session.add(User(email="a"))
        async with db.session() as session:
            session.add(User(email="b"))
            await session.flush()
            await session.rollback()
        assert await emails(db, token) == ["a"]
        async with db.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM orm_revisions")) == 1


async def test_replicas_lag_as_they_are_told(orm_database: Database) -> None:
    async with orm_database as db:
        async with paused(db):
            async with db.begin() as session:
                session.add(User(email="a"))
            token = await session.bookmark()
            with reads_from(db, "replica"):
                assert await emails(db) == []
            with reads_from(db, "primary"):
                assert await emails(db, token) == ["a"]
        await caught_up(db)
        with reads_from(db, "replica") as routes:
            assert await emails(db, token) == ["a"]
        assert [route.role for route in routes] == ["replica"]


async def test_where_a_block_has_read_is_asserted(orm_database: Database) -> None:
    async with orm_database as db:
        with pytest.raises(AssertionError, match="nothing was read from a replica: there was no"):
            with reads_from(db, "replica"):
                pass
        with pytest.raises(
            AssertionError, match=r"not all .* from a replica: .*\n1. primary: .*may"
        ):
            with reads_from(db, "replica"):
                async with db.begin() as session:
                    await session.scalars(select(User))
                async with db.session("first-primary") as session:
                    await session.scalars(select(User))
        await caught_up(db)
        with pytest.raises(AssertionError, match=r"not all .* from a primary: .*\n1. replica: "):
            with reads_from(db, "primary"):
                await emails(db)
        with reads_from(db, "replica"):
            async with db.begin() as session:
                session.add(User(email="a"))
            await session.close()
            await caught_up(db)
            await emails(db)
        with pytest.raises(KeyError, match="of its own"), reads_from(db, "replica"):
            raise KeyError("of its own")
        await emails(db)  # it is not listened to any more


def pytest_run(folder: Path, test: str) -> str:
    (folder / "test_it.py").write_text(test)
    plain = ("-p", "no:cacheprovider", "-p", "no:pytest_alembic", "-o", "asyncio_mode=auto")
    run = subprocess.run(
        (sys.executable, "-m", "pytest", *plain, "-q", "--rootdir", REPOSITORY, "test_it.py"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return run.stdout + run.stderr


LEFT_OPEN = """
import asyncio, pytest
from sqlalchemy import text
ROW = text("INSERT INTO users (email, created_at) VALUES ('a', CURRENT_TIMESTAMP)")
HOW_MANY = text("SELECT count(*) FROM users")

@pytest.fixture(scope="session")
def orm_driver():
    return {driver!r}

@pytest.fixture
async def db(orm_database):
    async with orm_database as db:
        yield db

async def leave(db):
    async with db.connect() as connection:
        assert await connection.scalar(HOW_MANY) == 0
        await connection.execute(ROW)
        await connection.commit()
        await connection.execute(ROW)

async def test_one_that_fails(db):
    await leave(db)

async def test_one_that_is_cancelled(db):
    session = db.session()
    await session.execute(HOW_MANY)
    task = asyncio.create_task(session.execute(ROW))
    await asyncio.sleep(0)
    task.cancel()
    async with db.connect("first-primary") as connection:
        assert await connection.scalar(HOW_MANY.execution_options(route="read")) == 0
    raise AssertionError("as it should")

async def test_one_after_them(db):
    async with db.connect() as connection:
        assert await connection.scalar(HOW_MANY) == 0
"""


@pytest.mark.parametrize("driver", ["aiosqlite", "psycopg"])
def test_what_fails_leaves_nothing_either(tmp_path: Path, driver: str) -> None:
    said = pytest_run(tmp_path, LEFT_OPEN.format(driver=driver))
    assert "2 failed, 1 passed" in said, said
    assert "UNIQUE" in said.upper(), said
    assert "as it should" in said


def test_a_driver_that_is_none_is_named(tmp_path: Path) -> None:
    said = pytest_run(tmp_path, LEFT_OPEN.format(driver="oracle"))
    assert "there are no test databases for 'oracle': have orm_driver return one of" in said
    assert "mysql+aiomysql" in said
