"""Connections are handed out in the order in which they were asked for."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm import Database
from orm.backends.pool import FairPool


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'app.db'}",
        poolclass=FairPool,
        pool_size=1,
        max_overflow=1,
        pool_timeout=60,
        pool_reset_on_return=None,
    )
    yield engine
    await engine.dispose()


async def run_in_turns(engine: AsyncEngine, tasks: int, turns: int) -> list[int]:
    """Who had a connection, when tasks that have had one ask for the next at once."""
    order: list[int] = []

    async def work(number: int) -> None:
        for _ in range(turns):
            async with engine.connect() as connection:
                order.append(number)
                await connection.execute(text("SELECT 1"))

    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(work(number))
    return order


async def test_no_task_has_a_second_turn_before_all_had_their_first(engine: AsyncEngine) -> None:
    order = await run_in_turns(engine, tasks=8, turns=5)
    first_end = next(n for n in range(len(order)) if order[:n].count(order[n]) == 4)
    for number in range(8):
        # As long as all of them go on: the others come first, but for one that holds a connection.
        places = [place for place, who in enumerate(order[: first_end + 1]) if who == number]
        assert all(after - before >= 7 for before, after in pairwise(places))


async def test_writers_of_sqlite_take_turns(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as db:
        async with db.connect() as connection:
            await connection.execute(text("CREATE TABLE log (who INTEGER)"))
            await connection.commit()

        async def write(number: int) -> None:
            for _ in range(4):
                async with db.begin() as session:
                    await session.execute(text("INSERT INTO log VALUES (:who)"), {"who": number})

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(write(number))
        async with db.connect("first-primary") as connection:
            order = (await connection.scalars(text("SELECT who FROM log ORDER BY rowid"))).all()
    rounds = [set(order[first : first + 6]) for first in range(0, 24, 6)]
    assert rounds == [set(range(6))] * 4


async def test_a_task_that_is_cancelled_in_the_line_holds_nothing_up(engine: AsyncEngine) -> None:
    async def wait() -> None:
        async with engine.connect():
            pass

    async with engine.connect(), engine.connect():
        waiting = [asyncio.create_task(wait()) for _ in range(4)]
        await asyncio.sleep(0)
        for task in waiting[:3]:  # the one that is served next, and two behind it
            task.cancel()
        await asyncio.gather(*waiting[:3], return_exceptions=True)
    await waiting[3]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_what_comes_back_at_once_goes_to_all_that_wait_at_once(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    engine = create_async_engine(url, poolclass=FairPool, pool_size=1, max_overflow=5)
    opened: list[object] = []
    event.listen(engine.sync_engine, "connect", lambda connection, _: opened.append(connection))
    held = [await engine.connect() for _ in range(6)]
    waiting = [asyncio.ensure_future(engine.connect().start()) for _ in range(6)]
    await asyncio.sleep(0)
    for connection in held:
        await connection.close()
    for connection in await asyncio.gather(*waiting):
        await connection.close()
    assert len(opened) == 6  # none was closed, to be opened again
    await engine.dispose()


async def test_a_connection_that_comes_when_its_task_is_cancelled_is_not_lost(
    engine: AsyncEngine,
) -> None:
    one, two = await engine.connect(), await engine.connect()
    first = asyncio.ensure_future(engine.connect().start())
    second = asyncio.ensure_future(engine.connect().start())
    await asyncio.sleep(0)
    # It is given to the first one, which has not run since when it is cancelled.
    one.sync_connection.close()  # type: ignore[union-attr]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    third = await second
    await third.close()
    await two.close()
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_wait_in_the_line_ends(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.02}
    engine = create_async_engine(url, poolclass=FairPool, **options)
    async with engine.connect() as held:
        outcomes = await asyncio.gather(
            *(engine.connect().start() for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [PoolTimeout] * 3
        assert "timeout 0.02" in str(outcomes[2])
        assert await held.scalar(text("SELECT 1")) == 1
    async with engine.connect() as again:
        assert await again.scalar(text("SELECT 1")) == 1
    await engine.dispose()


async def test_without_a_limit_there_is_no_line(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    engine = create_async_engine(url, poolclass=FairPool, pool_size=1, max_overflow=-1)
    async with engine.connect(), engine.connect(), engine.connect() as third:
        assert await third.scalar(text("SELECT 1")) == 1
    await engine.dispose()
