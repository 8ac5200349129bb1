"""Streams, as SQLAlchemy documents them for `AsyncSession`."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, literal, select
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from models import Post, User

LARGE = 5_000


def numbers(count: int) -> Any:
    """A SELECT of 0, 1, … count - 1."""
    counter = select(literal(0).label("n")).cte("counter", recursive=True)
    counter = counter.union_all(select(counter.c.n + 1).where(counter.c.n < count - 1))
    return select(counter.c.n)


async def test_stream_gives_rows_one_by_one(session: AsyncSession) -> None:
    result = await session.stream(select(User.id, User.email).order_by(User.id))
    assert [row async for row in result] == [(1, "ada"), (2, "ben")]


async def test_stream_scalars_gives_entities(session: AsyncSession) -> None:
    users = await session.stream_scalars(select(User).order_by(User.id))
    assert [user.email async for user in users] == ["ada", "ben"]


async def test_stream_gives_mappings(session: AsyncSession) -> None:
    result = await session.stream(select(User.email).where(User.id == 1))
    assert [dict(row) async for row in result.mappings()] == [{"email": "ada"}]


async def test_stream_knows_one_first_and_all(session: AsyncSession) -> None:
    titles = select(Post.title).order_by(Post.id)
    assert await (await session.stream_scalars(titles)).all() == ["one", "two", "three"]
    assert await (await session.stream_scalars(titles)).first() == "one"
    assert await (await session.stream_scalars(titles.limit(1))).one() == "one"


async def test_large_result_is_streamed_whole(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(LARGE))
    assert [number async for number in result] == list(range(LARGE))


async def test_partitions_have_the_size_asked_for(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(10))
    assert [len(part) async for part in result.partitions(4)] == [4, 4, 2]


async def test_yield_per_sets_the_size_of_partitions(session: AsyncSession) -> None:
    result = await session.stream(numbers(10), execution_options={"yield_per": 4})
    assert [len(part) async for part in result.partitions()] == [4, 4, 2]


async def test_stream_loads_relationships(session: AsyncSession) -> None:
    statement = select(User).options(selectinload(User.posts)).execution_options(yield_per=1)
    result = await session.stream_scalars(statement.order_by(User.id))
    assert [len(user.posts) async for user in result] == [2, 1]


async def test_unique_collapses_joined_rows(session: AsyncSession) -> None:
    statement = select(User).options(joinedload(User.posts)).order_by(User.id)
    result = await session.stream_scalars(statement)
    assert [len(user.posts) async for user in result.unique()] == [2, 1]


async def test_stream_closed_early_gives_no_more(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(LARGE))
    assert await result.fetchmany(2) == [0, 1]
    await result.close()
    with pytest.raises(ResourceClosedError):
        await result.fetchmany(1)


async def test_session_goes_on_after_a_stream_was_closed_early(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(LARGE))
    await result.fetchmany(2)
    await result.close()
    assert await session.scalar(select(User.email)) == "ada"
    await session.commit()


async def test_two_streams_of_one_transaction_interleave(session: AsyncSession) -> None:
    first = await session.stream_scalars(numbers(LARGE))
    second = await session.stream_scalars(numbers(LARGE))
    assert await first.fetchmany(2) == await second.fetchmany(2) == [0, 1]
    await first.close()
    await second.close()


async def test_stream_goes_on_while_the_session_reads(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(LARGE))
    assert await result.fetchmany(1) == [0]
    assert await session.scalar(select(User.email)) == "ada"
    assert await result.fetchmany(1) == [1]
    await result.close()


async def test_stream_goes_on_while_the_session_writes(session: AsyncSession) -> None:
    result = await session.stream_scalars(numbers(LARGE))
    assert await result.fetchmany(1) == [0]
    session.add(User(email="new"))
    await session.flush()
    assert await result.fetchmany(1) == [1]
    await result.close()
    await session.commit()


async def test_session_closes_with_a_stream_half_read(sessions: Any) -> None:
    async with sessions() as session:
        result = await session.stream_scalars(numbers(LARGE))
        await result.fetchmany(1)


async def test_a_stream_left_half_read_holds_no_later_reader_in_the_past(sessions: Any) -> None:
    left = []
    for number in range(3):
        async with sessions() as writer:
            await writer.execute(insert(User).values(email=f"user {number}"))
            await writer.commit()
            async with await sessions.after(writer) as reader:
                found = await reader.stream_scalars(select(User.email).order_by(User.id.desc()))
                assert await found.fetchmany(1) == [f"user {number}"]
                left.append(found)


async def test_stream_is_cancelled_with_its_task(sessions: Any) -> None:
    reading = asyncio.Event()

    async def read_slowly() -> None:
        async with sessions() as session:
            async for _ in await session.stream_scalars(numbers(LARGE)):
                reading.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(read_slowly())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
