"""A chain of sessions, without a bookmark in the caller's hands."""

import asyncio

import pytest
from sqlalchemy import func, select, text

from models import User
from orm import BookmarkSession, Database
from orm.exceptions import ConfigurationError, InvalidBookmark, ReadOnlyError
from orm.testing import caught_up, paused

COUNT = select(func.count()).select_from(User)


@pytest.mark.embedded
async def test_each_session_sees_what_those_before_it_wrote(db: Database) -> None:
    chain = db.chain()
    assert await chain.bookmark() is None
    async with paused(db):
        async with chain.begin() as session:
            session.add(User(email="one"))
        async with chain.session() as session:
            assert await session.scalar(COUNT) == 1
            session.add(User(email="two"))
            await session.commit()
            async with chain.session() as inside:  # while the other is open
                assert await inside.scalar(COUNT) == 2
        async with chain.connect() as connection:
            assert await connection.scalar(COUNT) == 2
        async with db.session() as stranger:
            assert await stranger.scalar(COUNT) == 0
        token = await chain.bookmark()
        async with db.chain(token).session() as session:
            assert await session.scalar(COUNT) == 2


@pytest.mark.embedded
async def test_a_chain_does_not_go_back_to_before_what_it_has_read(db: Database) -> None:
    writer, reader = db.chain(), db.chain()
    async with writer.begin() as session:
        session.add(User(email="one"))
    await caught_up(db)
    async with paused(db):
        async with writer.begin() as session:
            session.add(User(email="two"))
        async with reader.session() as session:
            assert await session.scalar(COUNT.execution_options(route="primary")) == 2
        async with reader.session() as session:
            assert await session.scalar(COUNT) == 2


async def test_tasks_share_a_chain(db: Database) -> None:
    chain = db.chain()

    async def work(number: int) -> int:
        async with chain.begin() as session:
            session.add(User(email=f"{number}"))
        async with chain.session() as session:
            return await session.scalar(COUNT) or 0

    counts = await asyncio.gather(*map(work, range(6)))
    assert min(counts) >= 1
    async with chain.session() as session:
        assert await session.scalar(COUNT) == 6


async def test_a_session_ends_with_its_block(db: Database) -> None:
    async with db.chain().session() as session:
        pass
    with pytest.raises(ConfigurationError, match=r"chain\.session\(\)"):
        await session.scalar(COUNT)


async def test_a_chain_starts_from_a_bookmark(db: Database) -> None:
    with pytest.raises(InvalidBookmark):
        async with db.chain("v1.garbage").session():
            pass


async def add(session: BookmarkSession) -> User:
    user = User(email="ada")
    session.add(user)
    return user


@pytest.mark.embedded
async def test_what_is_run_belongs_to_the_chain(db: Database) -> None:
    chain = db.chain()

    async def count(session: BookmarkSession) -> int:
        return await session.scalar(COUNT) or 0

    async with paused(db):
        user = await chain.run(add)
        assert (user.id, user.email) == (1, "ada")  # it can be used after its session
        assert chain.has_committed
        assert await chain.run(count, read_only=True) == 1
        assert await db.run(count, read_only=True) == 0
        assert await db.run(count, constraint=await chain.bookmark(), read_only=True) == 1


async def test_read_only_is_one_snapshot_that_does_not_write(db: Database) -> None:
    async def twice(session: BookmarkSession) -> tuple[int | None, int | None]:
        before = await session.scalar(COUNT)
        await db.run(add)
        return before, await session.scalar(COUNT)

    assert await db.run(twice, constraint="first-primary", read_only=True) == (0, 0)
    with pytest.raises(ReadOnlyError):
        await db.run(add, read_only=True)


async def test_what_fails_is_not_committed_nor_tried_again(db: Database) -> None:
    tried = []

    async def fail(session: BookmarkSession) -> None:
        tried.append(session)
        await session.execute(text("INSERT INTO users (email) VALUES ('ada')"))
        raise ConnectionError("the mail server is away")  # an OSError, but not the database's

    with pytest.raises(ConnectionError):
        await db.run(fail)
    assert len(tried) == 1
    async with db.session("first-primary") as session:
        assert await session.scalar(COUNT) == 0
