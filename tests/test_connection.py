"""Core without the ORM, under the same rules."""

import pytest
from sqlalchemy import func, insert, inspect, select, text

from models import User
from orm import Database, InvalidBookmark, ReadOnlyError
from orm.testing import paused

users = User.__table__


async def test_read_is_served_by_a_replica_and_a_write_by_the_primary(db: Database) -> None:
    async with paused(db), db.connect() as connection:
        assert (await connection.execute(select(users))).all() == []
        assert connection.last_route and connection.last_route.role == "replica"
        await connection.execute(insert(users).values(email="a"))
        assert connection.last_route.role == "primary"
        await connection.commit()
        assert await connection.scalar(select(users.c.email)) == "a"


async def test_connection_starts_from_a_bookmark(db: Database) -> None:
    async with paused(db):
        async with db.connect() as connection:
            await connection.execute(insert(users).values(email="a"))
            await connection.commit()
            token = await connection.bookmark()
        async with db.connect(token) as connection:
            assert list(await connection.scalars(select(users.c.email))) == ["a"]
        async with db.connect() as connection:
            assert list(await connection.scalars(select(users.c.email))) == []
    with pytest.raises(InvalidBookmark):
        async with db.connect("garbage"):
            pass


async def test_what_is_not_committed_is_gone(db: Database) -> None:
    async with db.connect() as connection:
        await connection.execute(insert(users).values(email="a"))
        assert connection.in_transaction()
        await connection.rollback()
        assert not connection.in_transaction()
        await connection.execute(insert(users).values(email="b"))
    async with db.connect("first-primary") as connection:
        assert await connection.scalar(select(func.count()).select_from(users)) == 0


async def test_blocks_commit(db: Database) -> None:
    async with db.connect() as connection:
        async with connection.begin():
            await connection.execute(insert(users), [{"email": "a"}, {"email": "b"}])
            async with connection.begin_nested() as savepoint:
                await connection.execute(insert(users).values(email="c"))
                await savepoint.rollback()
        async with connection.begin(read_only=True):
            assert await connection.scalar(select(func.count()).select_from(users)) == 2
            with pytest.raises(ReadOnlyError):
                await connection.execute(insert(users).values(email="d"))


async def test_begin_is_one_write_transaction(db: Database) -> None:
    async with db.begin() as session:
        session.add(User(email="a"))
        await session.scalars(select(User))
        assert session.last_route and session.last_route.role == "primary"
    with pytest.raises(ZeroDivisionError):
        async with db.begin() as session:
            session.add(User(email="b"))
            await session.flush()
            raise ZeroDivisionError
    async with db.connect("first-primary") as connection:
        assert list(await connection.scalars(select(users.c.email))) == ["a"]


async def test_streams(db: Database) -> None:
    async with db.begin() as session:
        session.add_all(User(email=str(n)) for n in range(100))
    async with db.connect("first-primary") as connection:
        rows = await connection.stream(select(users.c.id, users.c.email))
        assert len([row async for row in rows]) == 100
        ids = await connection.stream_scalars(select(users.c.id).order_by(users.c.id))
        assert [n async for n in ids] == list(range(1, 101))


@pytest.mark.embedded
async def test_strings_and_callables_run_on_the_primary(db: Database) -> None:
    async with paused(db), db.connect() as connection:
        await connection.exec_driver_sql("INSERT INTO users (email) VALUES (?)", ("a",))
        assert await connection.run_sync(lambda c: inspect(c).has_table("posts"))
        assert connection.last_route and connection.last_route.role == "primary"
        assert await connection.scalar(text("SELECT email FROM users")) == "a"
