"""What a commit sends, by psycopg."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from models import User
from orm import BookmarkSession
from tests.conftest import PostgreSQL


async def commit(session: BookmarkSession, email: str, folder: Path) -> tuple[str, int]:
    """Commit a row: the bookmark after it, and the round trips that the two took.

    libpq writes down each message; a round trip ends with the server's ReadyForQuery.
    """
    session.add(User(email=email))
    await session.flush()
    connection = await (await session.connection()).get_raw_connection()
    driver: Any = connection.driver_connection
    with (folder / "trace").open("wb") as trace:
        driver.pgconn.trace(trace.fileno())
        await session.commit()
        token = await session.bookmark()
        driver.pgconn.untrace()
    return token, (folder / "trace").read_text().count("ReadyForQuery")


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_commit_brings_its_position_along(servers: PostgreSQL, tmp_path: Path) -> None:
    emails = select(User.email).order_by(User.id)
    options = {"pool_size": 1, "max_overflow": 0}
    async with servers.migrated(engine_options=options) as db:
        async with db.session() as session:
            for number, email in enumerate(["ada", "bob", "cyd"], 1):
                token, trips = await commit(session, email, tmp_path)
                assert trips == 1
                async with db.session(token) as later:
                    assert len((await later.scalars(emails)).all()) == number
            await session.execute(text("DEALLOCATE ALL"))  # and what is asked is prepared no more
            token, trips = await commit(session, "dan", tmp_path)
            assert trips > 1
            _, trips = await commit(session, "eve", tmp_path)
            assert trips == 1
        async with db.session(token) as later:
            assert (await later.scalars(emails)).all()[:4] == ["ada", "bob", "cyd", "dan"]


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_who_sends_while_another_task_commits_waits(servers: PostgreSQL) -> None:
    """psycopg's connections may be used by several tasks at once."""
    async with servers.migrated() as db, db.session() as session:
        session.add(User(email="ada"))
        await session.flush()
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        committing = asyncio.create_task(driver.commit())
        await asyncio.sleep(0)  # it begins
        await driver.execute("SELECT 1")
        await committing


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_a_commit_of_nothing_is_not_sent(servers: PostgreSQL) -> None:
    said: list[str] = []
    async with servers.migrated() as db, db.session() as session:
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        driver.add_notice_handler(lambda notice: said.append(notice.message_primary))
        await session.commit()
    assert said == []
