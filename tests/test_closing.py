"""Leaving a session gives back what it holds, at once if nothing has to be undone."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Pool, event, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from models import User
from orm import BookmarkSession, Database
from tests.conftest import MySQL, Servers, checked_out

Use = Callable[[BookmarkSession], Awaitable[object]]


async def nothing(session: BookmarkSession) -> None:
    pass


async def read(session: BookmarkSession) -> None:
    await session.scalars(select(User))


async def commit(session: BookmarkSession) -> None:
    session.add(User(email="ada"))
    await session.commit()


@pytest.mark.parametrize("use", [nothing, read, commit])
async def test_what_has_nothing_to_undo_ends_without_waiting(db: Database, use: Use) -> None:
    others: list[str] = []
    async with db.session() as session:
        await use(session)
        asyncio.get_running_loop().call_soon(others.append, "another callback")
    assert not others


async def write(session: BookmarkSession) -> None:
    session.add(User(email="ada"))
    await session.flush()


async def read_one_snapshot(session: BookmarkSession) -> None:
    await session.begin(read_only=True)
    await session.scalars(select(User))


async def read_half_a_stream(session: BookmarkSession) -> None:
    await (await session.stream_scalars(select(User))).first()
    await session.stream_scalars(select(User))


async def begin_by_hand(session: BookmarkSession) -> None:
    await session.execute(text("BEGIN").execution_options(route="read"))


@pytest.mark.parametrize("use", [write, read_one_snapshot, read_half_a_stream, begin_by_hand])
async def test_what_has_to_be_undone_is_undone_however_it_is_cancelled(
    servers: Servers, db: Database, use: Use
) -> None:
    if use is read_half_a_stream and isinstance(servers, MySQL):
        pytest.skip("a stream without rows has ended")
    assert await _dropped_on_leaving(db.session(), use) == 0
    assert checked_out(db) == 0
    async with db.session() as session:
        assert (await session.scalars(select(User))).all() == []


async def test_a_connection_that_the_caller_has_closed_is_no_trouble(db: Database) -> None:
    async with db.session() as session:
        await read(session)
        connection = await session.connection(bind_arguments={"clause": select(User)})
        await connection.close()
    assert checked_out(db) == 0


async def test_a_connection_that_the_caller_named_is_given_back(
    servers: Servers, db: Database
) -> None:
    engine = create_async_engine(servers.url)

    async def read_there(session: BookmarkSession) -> None:
        await session.scalars(select(User), bind_arguments={"bind": engine.sync_engine})

    assert await _dropped_on_leaving(db.session(), read_there) == 0
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    await engine.dispose()


async def _dropped_on_leaving(session: BookmarkSession, use: Use) -> int:
    """How many connections are dropped when a task is cancelled that leaves a session."""
    dropped = []

    def note(*about: object) -> None:
        dropped.append(about)

    async with session:
        await use(session)
        event.listen(Pool, "invalidate", note)
        event.listen(Pool, "close", note)
        try:
            leaving = asyncio.create_task(session.__aexit__(None, None, None))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        finally:
            event.remove(Pool, "invalidate", note)
            event.remove(Pool, "close", note)
    return len(dropped)
