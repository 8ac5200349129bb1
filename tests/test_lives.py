"""A `Database` has one life after another, each in one process and one event loop."""

import asyncio
import multiprocessing
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from models import Base, User
from orm import Database, OrmError
from orm.exceptions import DatabaseClosed
from orm.testing import caught_up
from tests.conftest import Servers

EMAILS = select(User.email).order_by(User.id)


async def begun(db: Database) -> None:
    async with db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()


async def lived(db: Database, email: str) -> list[str]:
    """One life: a write, and a read of it on a replica."""
    async with db:
        async with db.begin() as session:
            session.add(User(email=email))
        await caught_up(db)
        async with db.session(await session.bookmark()) as session:
            emails = list(await session.scalars(EMAILS))
            assert session.last_route is not None
            assert session.last_route.role == "replica"
    return emails


def test_it_is_started_anew_in_another_event_loop(servers: Servers) -> None:
    db = servers.database(max_wait=60)
    asyncio.run(begun(db))
    assert asyncio.run(lived(db, "ada")) == ["ada"]
    assert asyncio.run(lived(db, "bob")) == ["ada", "bob"]


async def test_sessions_of_an_earlier_life_stay_closed(servers: Servers) -> None:
    db = servers.database(max_wait=60)
    await begun(db)
    async with db:
        old = db.session()
        await old.scalars(EMAILS)
        await old.begin_nested()  # and a connection of the writer's
    async with db:
        with pytest.raises(DatabaseClosed, match="closed: start it anew"):
            await old.scalars(EMAILS)
        await old.close()
        async with db.session(old.located) as session:
            assert (await session.scalars(EMAILS)).all() == []


async def test_it_is_started_once_at_a_time(servers: Servers) -> None:
    db = servers.database()
    async with db:
        with pytest.raises(DatabaseClosed, match="started already: close it first"):
            await db.start()
        async with Database(servers.url):  # another one on the same servers
            pass
        async with db.session() as session:
            assert await session.scalar(text("SELECT 1")) == 1


def in_another_thread(work: Callable[[], Awaitable[object]]) -> list[Any]:
    """Run something in an event loop of its own; returns what it has raised."""
    raised: list[Any] = []

    def run() -> None:
        try:
            asyncio.run(work())  # type: ignore[arg-type]
        except OrmError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


async def test_another_event_loop_is_told_so(db: Database) -> None:
    session = db.session()

    async def use_session() -> None:
        await session.scalars(EMAILS)

    async def use_database() -> None:
        db.session()

    for work in (use_session, use_database, db.status):
        (error,) = await asyncio.to_thread(in_another_thread, work)
        assert isinstance(error, DatabaseClosed)
        assert "started in another event loop" in str(error)
    # What sends nothing may be asked from anywhere: metrics are collected in a thread.
    assert len(await asyncio.to_thread(db.last_status)) == 3


def use_after_fork(db: Database, told: Any) -> None:
    async def use() -> None:
        for work in (db.start, db.status):
            try:
                await work()
            except DatabaseClosed as error:
                told.put(str(error))
        await db.close()

    asyncio.run(use())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_forked_process_is_told_so_and_leaves_all_as_it_is(db: Database) -> None:
    async with db.session() as session:
        await session.scalars(EMAILS)
        fork = multiprocessing.get_context("fork")
        told = fork.SimpleQueue()
        child = fork.Process(target=use_after_fork, args=(db, told))
        child.start()
        await asyncio.to_thread(child.join)
        assert child.exitcode == 0
        for _ in range(2):
            assert "fork first, and start a Database in each process" in told.get()
        assert (await session.scalars(EMAILS)).all() == []
    async with db.begin() as session:
        session.add(User(email="ada"))
