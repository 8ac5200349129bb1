"""One visit to the driver's thread for each statement, and nothing else that is different."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiosqlite
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from models import User
from orm import Bookmark, Database
from orm.backends.sqlite import one_visit
from orm.testing import caught_up
from tests.conftest import SQLite
from tests.harness.cancel import CutOff, cancelled_at

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE, b BLOB)"


async def fewest_visits(work: Callable[[], Awaitable[None]]) -> int:
    """How often something goes to the threads of aiosqlite's connections, as its log says.

    The watcher goes there as well, once a second: not in each of these times.
    """
    counts = [0]

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counts[-1] += record.msg.startswith("executing")

    logger, handler = logging.getLogger("aiosqlite"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        for _ in range(20):
            counts.append(0)
            await work()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return min(counts[1:])


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with SQLite(tmp_path).migrated() as db:
        async with db.begin() as session:
            session.add(User(email="a"))
        await caught_up(db)
        yield db


async def test_a_read_is_one_visit(database: Database) -> None:
    async def read() -> None:
        async with database.session() as session:
            assert await session.scalar(select(User.email)) == "a"

    assert await fewest_visits(read) == 1


async def test_a_transaction_that_writes_is_a_visit_for_each_statement_and_one_more(
    tmp_path: Path,
) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/app.db") as db:  # no replicas to be probed
        async with db.connect() as connection:
            await connection.execute(text(TABLE))
            await connection.commit()

        async def write() -> None:
            async with db.connect() as connection:
                await connection.execute(text("INSERT INTO t DEFAULT VALUES"))  # and BEGIN
                await connection.execute(text("DELETE FROM t"))
                await connection.commit()  # and the position

        assert await fewest_visits(write) == 3


# As without it ------------------------------------------------------------------------------

STATEMENTS = [
    ("INSERT INTO t (n) VALUES (?)", (1,)),
    ("INSERT INTO t (n) VALUES (?)", (2,)),
    ("INSERT INTO t (n) VALUES (?)", [(3,), (4,)]),
    ("INSERT INTO t (n) VALUES (?)", [(5,), (5,)]),
    ("INSERT INTO t (n) VALUES (?)", ()),
    ("INSERT INTO t (n) VALUES (6), (7) RETURNING id, n", None),
    ("UPDATE t SET n = n + 10", None),
    ("UPDATE t SET n = n + 10 RETURNING n", None),
    ("DELETE FROM t WHERE n > ?", (10,)),
    ("SELECT * FROM t ORDER BY id", None),
    ("SELECT n FROM t WHERE n = ?", (1,)),
    ("SELECT n FROM t WHERE 0", None),
    ("SELECT n / 0, regexp('(', 'a') FROM t", None),
    ("SELECT missing FROM t", None),
    ("SELEKT", None),
    ("SELECT 1; SELECT 2", None),
    ("-- nothing", None),
    ("SELECT CAST(x'ff' AS TEXT)", None),
    ("CREATE TABLE u (id)", None),
    ("DROP TABLE u", None),
    ("PRAGMA user_version = 3", None),
    ("PRAGMA user_version", None),
    ("SAVEPOINT s", None),
    ("ROLLBACK TO s", None),
    ("COMMIT", None),
]
FETCHES: list[Callable[[Any], Any]] = [
    lambda cursor: cursor.fetchall(),
    lambda cursor: cursor.fetchone(),
    lambda cursor: cursor.fetchmany(),
    lambda cursor: cursor.fetchmany(2),
    list,
    lambda cursor: cursor.close(),
    lambda cursor: cursor.description,
]


def outcome(connection: Connection, steps: list[Any]) -> list[Any]:
    """What cursors answer, step for step, errors included."""
    raw = connection.connection
    said: list[Any] = []
    cursor: Any = raw.cursor()
    for new, (sql, parameters), fetches in steps:
        if new:
            cursor = raw.cursor()
        cursor.fetchall()
        try:
            if isinstance(parameters, list):
                cursor.executemany(sql, parameters)
            else:
                cursor.execute(sql, parameters)
            said.append((cursor.description, cursor.rowcount, cursor.lastrowid, cursor.arraysize))
            said.extend(fetch(cursor) for fetch in fetches)
        except Exception as error:  # noqa: BLE001 - whichever it is
            said.append((type(error), str(error)))
            cursor = raw.cursor()
    raw.rollback()
    cursor = raw.cursor()
    cursor.execute("SELECT * FROM t ORDER BY id")
    return [*said, cursor.fetchall()]


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(STATEMENTS),
            st.lists(st.sampled_from(FETCHES), max_size=3),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([None, "DEFERRED"]),
)
@settings(deadline=None, max_examples=150)
async def test_cursors_answer_what_sqlalchemys_own_answer(
    steps: list[Any], isolation_level: str | None
) -> None:
    said = []
    for options in ({}, {"module": one_visit()}):
        engine = create_async_engine(
            "sqlite+aiosqlite://", connect_args={"isolation_level": isolation_level}, **options
        )
        async with engine.connect() as connection:
            await connection.exec_driver_sql(TABLE)
            await connection.commit()
            said.append(await connection.run_sync(outcome, steps))
        await engine.dispose()
    assert said[0] == said[1]


async def test_a_stream_is_sqlalchemys_own(tmp_path: Path) -> None:
    async with engine_on(tmp_path / "a.db") as engine, engine.connect() as connection:
        numbers = text(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n"
        )
        result = await connection.stream(numbers)  # without an end: it cannot be fetched at once
        assert (await result.fetchmany(3)) == [(1,), (2,), (3,)]
        await result.close()


async def test_a_connection_that_the_application_opens_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    async with engine_on(file, async_creator=lambda: aiosqlite.connect(file)) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO t (n) VALUES (1)"))
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT n FROM t")) == 1


async def test_a_database_counts_on_connections_that_the_application_opens(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    options = {"connect_args": {"async_creator_fn": aiosqlite.connect}}
    async with Database(f"sqlite+aiosqlite:///{file}", engine_options=options) as db:
        async with db.connect() as connection:
            before = await connection.bookmark()
            await connection.execute(text(TABLE))
            await connection.commit()
            assert await connection.bookmark() != before


@asynccontextmanager
async def engine_on(file: Path, **options: Any) -> AsyncIterator[AsyncEngine]:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(TABLE)
    options = {"module": one_visit()} | options
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}", **options)
    yield engine
    await engine.dispose()


# BEGIN with the first statement ---------------------------------------------------------------

RAW = [
    ("execute", "INSERT INTO t (n) VALUES (1)"),
    ("execute_insert", "INSERT INTO t (n) VALUES (2)"),
    ("execute_fetchall", "SELECT n FROM t"),
    ("executemany", "INSERT INTO t (n) VALUES (?)", [(3,), (4,)]),
    ("executescript", "INSERT INTO t (n) VALUES (5)"),
    ("execute", "SAVEPOINT s"),
    ("execute", "COMMIT"),
    ("commit",),
    ("rollback",),
]


def early(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def late(connection: Connection) -> None:
    dbapi: Any = connection.connection.dbapi_connection
    dbapi.begin("BEGIN IMMEDIATE")


async def in_a_transaction(calls: list[Any], begin: Any, **options: Any) -> list[Any]:
    """What the driver's own methods do in a transaction of SQLAlchemy's, and what is left of it."""
    said: list[Any] = []
    options["connect_args"] = {"isolation_level": None}
    with TemporaryDirectory() as folder:
        async with engine_on(Path(folder) / "app.db", **options) as engine:
            event.listen(engine.sync_engine, "begin", begin)
            async with engine.connect() as connection:
                raw: Any = (await connection.get_raw_connection()).driver_connection
                cursor = await raw.cursor()
                await connection.begin()
                for (name, *arguments), by_cursor in calls:
                    target = cursor if by_cursor and hasattr(cursor, name) else raw
                    try:
                        got = await getattr(target, name)(*arguments)
                    except sqlite3.Error as error:
                        got = (type(error), str(error))
                    said.append((isinstance(got, aiosqlite.Cursor) or got, raw.in_transaction))
                await cursor.close()
                await connection.rollback()
            async with engine.connect() as connection:
                said.append((await connection.execute(text("SELECT n FROM t ORDER BY n"))).all())
    return said


@given(st.lists(st.tuples(st.sampled_from(RAW), st.booleans()), max_size=5))
@settings(deadline=None, max_examples=60)
async def test_whichever_way_a_statement_comes_the_transaction_begins_before_it(
    calls: list[Any],
) -> None:
    expected = await in_a_transaction(calls, early, module=None)
    assert await in_a_transaction(calls, late) == expected


async def test_nothing_is_executed_outside_of_a_transaction_that_cannot_begin(
    tmp_path: Path,
) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/app.db") as db:
        async with db.connect() as connection:
            await connection.execute(text(TABLE))
            await connection.commit()
        async with db.cluster.writer.connect() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout = 1")
            await connection.rollback()
            with closing(sqlite3.connect(tmp_path / "app.db")) as outsider:
                outsider.execute("BEGIN IMMEDIATE")
                for _ in range(2):
                    with pytest.raises(OperationalError, match="locked"):
                        await connection.execute(text("INSERT INTO t (n) VALUES (1)"))
            await connection.execute(text("INSERT INTO t (n) VALUES (2)"))
            await connection.rollback()
        async with db.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM t")) == 0


# The position and COMMIT in one visit ----------------------------------------------------------


async def test_a_commit_that_fails_counts_nothing(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/app.db") as db:
        async with db.session() as session:
            await session.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
            await session.execute(
                text("CREATE TABLE b (a REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
            )
            await session.commit()
            before = session.located
            await session.execute(text("INSERT INTO b VALUES (1)"))
            with pytest.raises(IntegrityError, match="FOREIGN KEY constraint failed"):
                await session.commit()
            await session.rollback()
            assert await session.scalar(text("SELECT count(*) FROM b")) == 0
            await session.commit()  # nothing was written
            assert session.located == before
            await session.execute(text("INSERT INTO a VALUES (1)"))
            await session.commit()
            assert session.located != before


@pytest.mark.parametrize("number", range(1, 6))
async def test_a_transaction_that_is_cancelled_leaves_no_lock_and_counts_if_it_stands(
    database: Database, number: int
) -> None:
    async def write() -> None:
        async with database.session() as session:
            session.add(User(email="b"))
            await session.commit()

    async with database.session("first-primary") as session:
        await session.scalar(select(User.email))
        before = await session.bookmark()
    with suppress(CutOff):  # it may wait less often
        await cancelled_at(write(), number)
    async with database.session("first-primary") as session:
        session.add(User(email="c"))
        await session.commit()
        stands = "b" in set(await session.scalars(select(User.email)))
    positions = [Bookmark.decode(token) for token in (before, await session.bookmark())]
    (_, first), (_, last) = (at.position[0] for at in positions)
    assert last - first == 1 + stands
