"""The life of a `Database`: many tasks at once, tasks that are cancelled, and its end."""

import asyncio
import random
import threading
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError, InvalidRequestError

from models import Post, User
from orm import Database
from orm.exceptions import ConfigurationError
from orm.testing import caught_up, paused, replicas
from tests.conftest import is_between

# Foreign keys and transactions of SQLite -----------------------------------------------------


async def test_foreign_keys_are_enforced(db: Database) -> None:
    async with db.session() as session:
        session.add(Post(user_id=12345, title="t", body="b"))
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            await session.commit()


@pytest.mark.parametrize("route", ["read", "primary"])
@pytest.mark.embedded
async def test_foreign_keys_are_on_for_every_connection(db: Database, route: str) -> None:
    async with db.connect() as connection:
        options = {"route": route}
        pragma = text("PRAGMA foreign_keys")
        assert await connection.scalar(pragma, execution_options=options) == 1


async def test_delete_cascades(db: Database) -> None:
    async with db.begin() as session:
        session.add(User(email="a", posts=[Post(title="t", body="b")]))
    async with db.begin() as session:
        await session.execute(delete(User))
        assert await session.scalar(select(func.count(Post.id))) == 0


@pytest.mark.embedded
async def test_foreign_keys_can_be_deferred_for_one_transaction(db: Database) -> None:
    async with db.begin() as session:
        await session.execute(text("PRAGMA defer_foreign_keys = ON"))
        session.add(Post(user_id=7, title="t", body="b"))
        await session.flush()
        session.add(User(id=7, email="late"))
    async with db.session() as session:
        session.add(Post(user_id=8, title="t", body="b"))
        with pytest.raises(IntegrityError):
            await session.flush()


async def test_autocommit_on_the_primary_is_refused(db: Database) -> None:
    autocommit = {"isolation_level": "AUTOCOMMIT"}
    async with db.session() as session:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await session.connection(execution_options=autocommit)
        await session.rollback()
        session.add(User(email="ada"))
        await session.commit()
        connection = await session.connection()
        with pytest.raises(InvalidRequestError, match="may not be altered"):
            await connection.execution_options(**autocommit)


@pytest.mark.parametrize(
    "options",
    [{"isolation_level": "AUTOCOMMIT"}, {"execution_options": {"isolation_level": "autocommit"}}],
)
def test_autocommit_for_all_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
        Database("sqlite+aiosqlite:///app.db", engine_options=options)


# Many at once --------------------------------------------------------------------------------


@pytest.mark.embedded
async def test_every_task_reads_its_own_writes(db: Database) -> None:
    one, two = replicas(db)
    one.lag, two.lag = 0.005, 0.03
    async with db.begin() as session:
        session.add_all(User(id=n, email=f"{n}:0") for n in range(1, 11))

    async def chain(number: int) -> None:
        token = None
        for step in range(1, 16):
            async with db.session(token) as session:
                written = update(User).where(User.id == number).values(email=f"{number}:{step}")
                await session.execute(written)
                await session.commit()
                token = await session.bookmark()
            async with db.session(token) as session:
                seen = await session.scalar(select(User.email).where(User.id == number))
                assert seen == f"{number}:{step}"
                token = await session.bookmark()

    await asyncio.gather(*(chain(number) for number in range(1, 11)))


@pytest.mark.embedded
async def test_what_is_read_along_a_chain_never_goes_back(db: Database) -> None:
    one, two = replicas(db)
    one.lag, two.lag = 0.0, 0.05
    async with db.begin() as session:
        session.add(User(id=1, email="0"))
    done = asyncio.Event()

    async def write() -> None:
        for step in range(1, 101):
            async with db.begin() as session:
                await session.execute(update(User).values(email=str(step)))
        done.set()

    async def read() -> None:
        token, latest = None, 0
        while not done.is_set():
            async with db.session(token) as session:
                seen = int(await session.scalar(select(User.email)) or 0)
                token = await session.bookmark()
            assert seen >= latest
            latest = seen

    await asyncio.gather(write(), *(read() for _ in range(5)))


async def test_cancelled_tasks_lose_no_row_and_no_connection(db: Database) -> None:
    chance = random.Random(7)
    acknowledged = set()

    async def write(email: str) -> None:
        async with db.session() as session:
            session.add(User(email=email))
            await session.commit()
            acknowledged.add(email)
            await session.bookmark()

    async def read(_: str) -> None:
        async with db.session("first-primary") as session:
            await session.scalars(select(User))
            await session.rollback()
            await session.scalars(select(User))
            await session.bookmark()

    async def read_one_state(_: str) -> None:
        async with db.session() as session, session.begin(read_only=True):
            await session.scalars(select(User))

    for n in range(150):
        task = chance.choice([write, write, read, read_one_state])
        try:
            async with asyncio.timeout(chance.random() * 0.006):
                await task(str(n))
        except TimeoutError:
            continue
    await write("last")
    await caught_up(db)
    async with db.session() as session:
        assert acknowledged <= set(await session.scalars(select(User.email)))


async def test_cancelled_transaction_leaves_no_lock(servers, db: Database) -> None:
    ten = " UNION ALL ".join(f"SELECT {i} AS i" for i in range(10))
    many = f"WITH ten AS ({ten}) SELECT a.i FROM {', '.join(f'ten AS {c}' for c in 'abcdef')}"
    reading = asyncio.Event()

    async def write() -> None:
        async with db.begin() as session:
            session.add(User(email="undone"))
            await session.flush()
            rows = await session.stream(text(many))
            async for _ in rows:
                reading.set()

    writing = asyncio.create_task(write())
    await reading.wait()
    writing.cancel()
    await asyncio.wait([writing])
    # Its traceback refers to the half-read cursor, and would keep the connection from closing.
    assert writing.cancelled()
    async with servers.elsewhere() as other:
        async with other.begin() as session:
            session.add(User(email="a"))
        async with other.session("first-primary") as session:
            assert list(await session.scalars(select(User.email))) == ["a"]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.embedded
async def test_after_a_failed_commit_the_session_reads_what_the_primary_has(db, asked) -> None:
    async with paused(db), db.session() as session:
        await session.execute(text("PRAGMA defer_foreign_keys = ON"))
        session.add(Post(user_id=7, title="t", body="b"))
        await session.flush()
        if asked:
            await session.bookmark()
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            await session.commit()  # by COMMIT itself: the caller cannot know what it did
        await session.rollback()
        async with db.begin() as other:
            other.add(User(email="a"))
        assert await session.scalar(select(User.email)) == "a"


@pytest.mark.embedded
async def test_commit_that_failed_does_not_move_the_bookmark_of_a_later_one(db: Database) -> None:
    async with db.session() as session:
        before = await session.bookmark()
        await session.execute(text("PRAGMA defer_foreign_keys = ON"))
        session.add(Post(user_id=7, title="t", body="b"))
        await session.flush()
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            await session.commit()
        await session.rollback()
        await session.execute(text("SELECT 1"))
        await session.commit()
        assert await session.bookmark() == before


# Beginning and end ---------------------------------------------------------------------------


async def test_start_that_is_cancelled_leaves_nothing_running(servers) -> None:
    for delay in (0, 0.001, 0.005, 0.02, 0.05):
        db = servers.database()
        starting = asyncio.create_task(db.start())
        await asyncio.wait([starting], timeout=delay)
        starting.cancel()
        await asyncio.wait([starting])
        await db.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("replicator")]


async def test_files_go_on_in_the_next_life(servers) -> None:
    async with servers.migrated() as db:
        async with db.session() as session:
            session.add(User(email="a"))
            await session.commit()
            token = await session.bookmark()
    async with servers.database() as db, db.session(token) as session:
        assert await session.scalar(select(User.email)) == "a"
        await is_between(token, await session.bookmark(), db)


async def test_close_is_idempotent_and_open_sessions_can_be_closed_after_it(servers) -> None:
    async with servers.migrated() as db:
        reading, writing = db.session(), db.session()
        await reading.scalars(select(User))
        writing.add(User(email="a"))
        await writing.flush()
    await reading.close()
    await writing.close()
    await db.close()


async def test_database_without_replicas(servers) -> None:
    async with servers.migrated(replicas=0) as db, db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        token = await session.bookmark()
        assert await session.scalar(select(User.email)) == "a"
        assert session.last_route and session.last_route.server == "primary"
        async with db.session(token) as second:
            assert await second.scalar(select(User.email)) == "a"


async def test_two_databases_over_the_same_files(servers) -> None:
    async with servers.migrated() as one, servers.database() as two:
        async with one.session() as session:
            session.add(User(email="a"))
            await session.commit()
            token = await session.bookmark()
        async with two.session(token) as session:
            assert await session.scalar(select(User.email)) == "a"
            session.add(User(email="b"))
            await session.commit()
            token = await session.bookmark()
        async with one.session(token) as session:
            assert set(await session.scalars(select(User.email))) == {"a", "b"}
