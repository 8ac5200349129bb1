"""Transactions that are tried again, in real conflicts; and those that are not."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

from models import User
from orm import BookmarkSession, Database, NotCaughtUp
from orm.exceptions import ConfigurationError
from tests.conftest import MYSQL, Servers, SQLite

WITH_LOCKS_OF_ROWS = pytest.mark.parametrize(
    "servers", ["asyncpg", "psycopg", *MYSQL], indirect=True
)
POSTGRESQL = pytest.mark.parametrize("servers", ["asyncpg", "psycopg"], indirect=True)


class Watch(logging.Handler):
    """Calls a function each time that a transaction is about to be tried again."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Callable[[], None] = lambda: None

    def emit(self, record: logging.LogRecord) -> None:
        self.told()


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Callable[[], None]], None]]:
    caplog.set_level("DEBUG", "orm.attempts")
    handler = Watch()
    logger = logging.getLogger("orm.attempts")
    logger.addHandler(handler)
    yield lambda told: setattr(handler, "told", told)
    logger.removeHandler(handler)


async def emails(db: Database) -> list[str]:
    async with db.session("first-primary") as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


@WITH_LOCKS_OF_ROWS
async def test_both_sides_of_a_deadlock_are_committed(db: Database) -> None:
    async with db.begin() as session:
        session.add_all([User(id=1, email="x"), User(id=2, email="y")])
    both, tried = asyncio.Barrier(2), Counter[str]()

    async def append(letter: str, *ids: int) -> None:
        async def work(session: BookmarkSession) -> None:
            tried[letter] += 1
            for number in ids:
                await session.execute(
                    update(User).where(User.id == number).values(email=f"{letter}{number}")
                )
                if tried[letter] == 1 and number == ids[0]:
                    await both.wait()

        await db.run(work)

    async with asyncio.timeout(60):
        await asyncio.gather(append("a", 1, 2), append("b", 2, 1))
    # The one that was refused may lock its row anew before the other one has woken to lock it.
    assert sum(tried.values()) > 2
    one, two = await emails(db)
    assert one[0] == two[0], "of the later transaction, both rows"


@POSTGRESQL
async def test_a_serialization_failure_at_commit_is_tried_again(db: Database) -> None:
    """Each of two transactions reads what the other one writes: PostgreSQL refuses one of them."""
    both, tried = asyncio.Barrier(2), Counter[str]()

    async def add_if_alone(name: str) -> bool:
        async def work(session: BookmarkSession) -> bool:
            tried[name] += 1
            alone = not (await session.scalars(select(User.id))).all()
            if tried[name] == 1:
                await both.wait()
            if alone:
                session.add(User(email=name))
                await session.flush()
                if tried[name] == 1:
                    await both.wait()
            return alone

        return await db.run(work, execution_options={"isolation_level": "SERIALIZABLE"})

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(add_if_alone("ada"), add_if_alone("bob"))
    assert sorted(outcomes) == [False, True]
    assert len(await emails(db)) == 1


@pytest.mark.embedded
async def test_a_file_that_another_program_has_locked_is_tried_again(
    servers: Servers, watch: Callable[[Callable[[], None]], None]
) -> None:
    assert isinstance(servers, SQLite)
    async with servers.migrated(replicas=0) as db:

        @event.listens_for(db.engine.sync_engine, "connect")
        def _impatient(connection, _) -> None:
            connection.execute("PRAGMA busy_timeout = 0")

        async def add(session: BookmarkSession) -> None:
            session.add(User(email="ada"))

        other = sqlite3.connect(servers.folder / "app.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DBAPIError, match="locked") as gave_up:
                await db.run(add, retry_for=0)
            assert "tried 1 time(s)" in gave_up.value.__notes__[-1]
            refused = asyncio.Event()
            watch(refused.set)
            running = asyncio.create_task(db.run(add))
            await refused.wait()
            other.execute("COMMIT")
            await running
        finally:
            other.close()
        assert await emails(db) == ["ada"]


async def test_an_error_of_the_statement_is_not_tried_again(db: Database) -> None:
    tried = []

    async def twice_the_same(session: BookmarkSession) -> None:
        tried.append(session)
        session.add_all([User(email="ada"), User(email="ada")])

    with pytest.raises(IntegrityError):
        await db.run(twice_the_same)
    assert len(tried) == 1
    assert await emails(db) == []


async def test_an_error_that_says_so_is_tried_again_until_the_time_is_over(db: Database) -> None:
    tried = []

    async def work(session: BookmarkSession) -> int:
        tried.append(session)
        session.add(User(email=f"{len(tried)}"))
        await session.flush()
        if len(tried) < 4:
            raise NotCaughtUp("no replica has it yet")
        return len(tried)

    assert await db.run(work) == 4
    assert await emails(db) == ["4"]
    tried.clear()
    with pytest.raises(NotCaughtUp):
        await db.run(work, retry_for=0)
    assert len(tried) == 1


async def test_what_was_committed_is_not_done_again(db: Database) -> None:
    """By the work itself, which must not commit; or before another listener failed."""
    tried = []

    async def commits(session: BookmarkSession) -> None:
        tried.append(session)
        session.add(User(email=f"{len(tried)}"))
        await session.commit()
        raise NotCaughtUp("too late")

    async def goes_on(session: BookmarkSession) -> None:
        await session.rollback()
        await session.scalar(select(User.id))

    with pytest.raises(NotCaughtUp):
        await db.run(commits, idempotent=True)
    assert await emails(db) == ["1"]
    with pytest.raises(InvalidRequestError, match="inside context manager"):
        await db.run(goes_on)


async def test_a_cancelled_one_is_over(db: Database) -> None:
    begun = asyncio.Event()

    async def work(session: BookmarkSession) -> None:
        session.add(User(email="ada"))
        await session.flush()
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(db.run(work))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await emails(db) == []


async def test_a_time_below_zero_is_refused(db: Database) -> None:
    async def work(session: BookmarkSession) -> None:
        await session.execute(text("SELECT 1"))

    with pytest.raises(ConfigurationError, match="retry_for"):
        await db.run(work, retry_for=-1)


@pytest.mark.parametrize("servers", ["SQLite"], indirect=True)
async def test_work_that_is_no_asynchronous_function_is_named(db: Database) -> None:
    def add(session: BookmarkSession) -> None:
        session.add(User(email="ada"))

    async def work(_: BookmarkSession) -> None: ...

    called = work(db.session())
    for wrong in (add, None, called):
        given: Any = wrong
        with pytest.raises(ConfigurationError, match=r"asynchronous function, .* async def work"):
            await db.run(given)
    called.close()
    assert await emails(db) == []
    with pytest.raises(ConfigurationError, match=r"no replica 'three' \(there are: 'replica-1'"):
        await db.remove_replica("three")
