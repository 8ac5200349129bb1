"""Read-only transactions: one repeatable read, anywhere, and no write."""

import pytest
from sqlalchemy import func, insert, select, text

from models import User
from orm import Database, ReadOnlyError
from orm.testing import caught_up, paused, replicas
from tests.test_replicas import ruin


async def test_read_only_unit_is_served_by_a_replica(db: Database) -> None:
    async with db.session() as session, session.begin(read_only=True):
        await session.scalars(select(User))
        assert session.last_route and session.last_route.role == "replica"


@pytest.mark.parametrize("constraint", ["first-primary", "first-unconstrained"])
async def test_read_only_unit_sees_one_state(db: Database, constraint: str) -> None:
    async with db.session(constraint) as session:
        async with session.begin(read_only=True):
            assert await session.scalar(select(func.count(User.id))) == 0
            async with db.begin() as writer:
                writer.add(User(email="a"))
            await caught_up(db)
            assert await session.scalar(select(func.count(User.id))) == 0
        assert await session.scalar(select(func.count(User.id))) == 1


async def test_read_only_unit_obeys_the_bookmark(db: Database) -> None:
    async with paused(db), db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        async with session.begin(read_only=True):
            assert await session.scalar(select(User.email)) == "a"


async def test_bookmark_of_a_read_only_unit_is_its_state_and_no_later_one(db: Database) -> None:
    async with db.session() as session, session.begin(read_only=True):
        await session.scalars(select(User))
        before = await session.bookmark()
        async with db.begin() as writer:
            writer.add(User(email="a"))
        await caught_up(db)
        await session.scalars(select(User))
        assert await session.bookmark() == before


@pytest.mark.parametrize("constraint", ["first-primary", "first-unconstrained"])
async def test_write_in_a_read_only_unit_is_refused(db: Database, constraint: str) -> None:
    async with db.session(constraint) as session:
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                session.add(User(email="a"))
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                await session.execute(insert(User).values(email="a"))
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                await session.execute(text("INSERT INTO users (email) VALUES ('a')"))
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                await session.merge(User(id=1, email="a"))
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                await session.delete(User(id=1, email="a"))
    async with db.session("first-primary") as session:
        assert await session.scalar(select(func.count(User.id))) == 0


async def test_text_may_be_read_in_a_read_only_unit(db: Database) -> None:
    async with db.session() as session, session.begin(read_only=True) as transaction:
        assert await session.scalar(text("SELECT 1")) == 1
        assert session.last_route and session.last_route.role == "replica"
        assert transaction.is_active


async def test_session_writes_again_after_a_read_only_unit(db: Database) -> None:
    async with db.session() as session:
        async with session.begin(read_only=True):
            await session.scalars(select(User))
        session.add(User(email="a"))
        await session.commit()
        assert await session.scalar(select(User.email)) == "a"


@pytest.mark.embedded
async def test_replica_that_dies_ends_a_read_only_unit_that_has_answered(db: Database) -> None:
    async with db.begin() as writer:
        writer.add_all(User(email=f"{n}{'x' * 1000}") for n in range(200))
    await caught_up(db)
    for replica in replicas(db):
        await replica.pause()
    async with db.session() as session:
        with pytest.raises(Exception, match=r"malformed|not a database|disk I/O"):
            async with session.begin(read_only=True):
                await session.scalar(select(func.min(User.id)))
                for replica in replicas(db):
                    ruin(replica.file)
                await session.scalar(select(func.sum(func.length(User.email))))
    for replica in replicas(db):
        await replica.resume()


@pytest.mark.embedded
async def test_replica_that_dies_before_a_read_only_unit_has_answered_is_replaced(db) -> None:
    async with db.begin() as writer:
        writer.add_all(User(email=f"{n}{'x' * 1000}") for n in range(200))
    await caught_up(db)
    async with paused(db) as both, db.session() as session:
        async with session.begin(read_only=True):
            await session.scalar(select(func.min(User.id)))
        for replica in both:
            ruin(replica.file)
        async with session.begin(read_only=True):
            assert await session.scalar(select(func.count(func.length(User.email)))) == 200
        assert session.last_route and session.last_route.role == "primary"
