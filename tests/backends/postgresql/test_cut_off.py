"""A connection is cut off at each step of a driver: its error says that the connection is lost.

An answer is taken from the network in one pass of the event loop, and the task that waits for it
runs in the next one. Between the two, a driver is between two steps of its own.
"""

import asyncio
import gc
import select as sockets
from collections.abc import AsyncIterator
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import Database
from orm.testing.postgresql import Cluster
from tests.conftest import over

READ = 5
"""Answers to a read and its bookmark: each is prepared and executed, and a type asked for."""

WRITE = 7
"""BEGIN, a statement that is prepared and executed, COMMIT, the same of the position after it."""

PASSES = 2
"""0: the driver is between two steps; 1: it has begun the next one."""


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def db(postgresql_cluster: Cluster, driver: str) -> AsyncIterator[Database]:
    cluster = postgresql_cluster
    async with Database(cluster.primary.url(driver)) as alone:
        async with alone.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        async with alone.begin() as session:
            session.add(User(email="ada"))
    cluster.caught_up()
    standbys = [server.url(driver) for server in cluster.standbys]
    async with over(cluster.primary.url(driver), standbys) as db:
        yield db


def socket_of(connection: Any) -> int:
    driver = connection.driver_connection
    if hasattr(driver, "fileno"):
        return driver.fileno()
    return driver._transport.get_extra_info("socket").fileno()


class Cutting:
    """Cuts off the connection of the next statement, after some of the server's answers."""

    def __init__(self, db: Database, answers: int, passes: int) -> None:
        self._network = db.cluster.backend.network
        self._answers, self._passes = answers, passes
        self._engines = [engine.sync_engine for engine in db.engines]
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        for engine in self._engines:
            event.listen(engine, "before_cursor_execute", self._begin)

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._begin)
        assert self._task is not None
        self._task.cancel()

    def _begin(self, connection: Any, *_: object) -> None:
        if self._task is None:
            dbapi = connection.connection.dbapi_connection
            self._task = asyncio.get_running_loop().create_task(self._cut(dbapi))

    async def _cut(self, connection: Any) -> None:
        number = socket_of(connection)

        def arrived() -> bool:
            return bool(sockets.select([number], [], [], 0)[0])

        for _ in range(self._answers):
            while not arrived():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            while arrived():  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(self._passes):
            await asyncio.sleep(0)
        assert self._network is not None
        self._network.hang_up(connection)


READS = {
    "a column": select(User.email),
    "a type that asyncpg asks for": text("SELECT email, users FROM users"),
}


@pytest.mark.parametrize("read", READS)
async def test_a_read_whose_connection_is_cut_off_is_served_again(db: Database, read: str) -> None:
    statement = READS[read].execution_options(route="read")
    for answers, passes in product(range(READ), range(PASSES)):
        for engine in db.engines:
            await engine.dispose()  # a new connection has prepared nothing yet
        async with db.session() as session:
            with Cutting(db, answers, passes):
                assert (await session.scalars(statement)).all() == ["ada"]
                token = await session.bookmark()
            assert (await session.scalars(statement)).all() == ["ada"]  # in the same transaction
        async with db.session(token) as session:
            assert (await session.scalars(statement)).all() == ["ada"]


@pytest.mark.parametrize("rows", [1, 2])
async def test_a_write_whose_connection_is_cut_off_is_a_lost_connection(
    db: Database, rows: int
) -> None:
    for answers, passes in product(range(WRITE), range(PASSES)):
        emails = {f"{answers} {passes} {row}" for row in range(rows)}
        errors: list[DBAPIError] = []
        with Cutting(db, answers, passes):
            try:
                async with db.connect() as connection:
                    await connection.execute(insert(User), [{"email": email} for email in emails])
                    await connection.commit()
            except DBAPIError as error:
                errors.append(error)
        assert all(error.connection_invalidated for error in errors), errors
        async with db.session("first-primary") as session:
            found = set((await session.scalars(select(User.email))).all())
            assert found & emails in (set(), emails)


async def test_a_transaction_reads_on_however_often_its_connection_is_lost(
    db: Database, postgresql_cluster: Cluster
) -> None:
    number = text("SELECT pg_backend_pid()").execution_options(route="read")
    async with db.session("first-primary") as session:
        for _ in range(3):
            assert (await session.scalars(select(User.email))).all() == ["ada"]
            assert session.last_route is not None
            assert session.last_route.role == "primary"
            ended = f"SELECT pg_terminate_backend({await session.scalar(number)}, 60000)"
            assert await asyncio.to_thread(postgresql_cluster.primary.sql, ended) == ["t"]
            assert await session.bookmark()


@pytest.mark.parametrize("writes", [False, True])
async def test_a_connection_that_was_cut_off_goes_without_a_traceback(
    db: Database, writes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    network = db.cluster.backend.network
    assert network is not None
    gc.collect()
    caplog.clear()  # of what other tests have left
    with pytest.raises(DBAPIError) if writes else nullcontext():  # its ROLLBACK
        async with db.session() as session:
            if writes:
                session.add(User(email="lost"))
                await session.flush()
            else:
                await session.scalars(select(User.email))
            connection = await session.connection()
            network.hang_up((await connection.get_raw_connection()).dbapi_connection)
            await asyncio.sleep(0)  # the loop tells asyncpg in its next pass
    assert [record for record in caplog.records if record.exc_info] == []
    async with db.session("first-primary") as session:
        assert (await session.scalars(select(User.email))).all() == ["ada"]
