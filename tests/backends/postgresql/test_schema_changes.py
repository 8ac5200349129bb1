"""A column's type changes under connections that have prepared statements on it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import event, literal, select
from sqlalchemy.exc import DBAPIError, NotSupportedError

from models import Base, User
from orm import BookmarkSession, Database
from orm.testing.postgresql import Cluster

EMAILS = select(User.email)
ENOUGH = 8
"""Executions after which psycopg, too, has prepared a statement."""


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    return postgresql_cluster


@asynccontextmanager
async def migrated(cluster: Cluster, driver, *, replicas: bool) -> AsyncIterator[Database]:
    primary, one = cluster.primary.url(driver), cluster.standbys[0].url(driver)
    async with Database(primary) as db:
        async with db.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        async with db.begin() as session:
            session.add(User(email="ada"))
    cluster.caught_up()
    async with Database(primary, replicas=[one] if replicas else []) as db:
        yield db


def change_type(cluster: Cluster) -> None:
    cluster.primary.sql("ALTER TABLE users ALTER email TYPE varchar(500)")
    cluster.caught_up()


async def read(session: BookmarkSession) -> list[str]:
    return list(await session.scalars(EMAILS))


@pytest.mark.parametrize("role", ["replica", "primary"])
async def test_plain_reads_go_on(cluster: Cluster, driver, role) -> None:
    async with migrated(cluster, driver, replicas=role == "replica") as db:
        async with AsyncExitStack() as stack:
            # Each of them on a connection of its own.
            sessions = [await stack.enter_async_context(db.session()) for _ in range(3)]
            for session in sessions:
                for _ in range(ENOUGH):
                    await read(session)
            change_type(cluster)
            for session in sessions:
                for _ in range(2):
                    assert await read(session) == ["ada"]
                assert session.last_route is not None
                assert session.last_route.role == role
        for _ in range(4):
            async with db.session() as session:
                assert await read(session) == ["ada"]
        assert all(server.error is None for server in await db.status())


# With each ROLLBACK, in which what only reads ends, psycopg forgets what it has prepared.
@pytest.mark.parametrize(
    ("driver", "read_only"),
    [("asyncpg", False), ("asyncpg", True), ("psycopg", False)],
    indirect=["driver"],
)
async def test_a_transaction_is_to_be_tried_again(cluster: Cluster, driver, read_only) -> None:
    async with migrated(cluster, driver, replicas=True) as db, db.session() as session:
        async with session.begin(read_only=read_only):
            for _ in range(ENOUGH):
                await read(session)
        change_type(cluster)
        with pytest.raises(NotSupportedError) as refused:
            async with session.begin(read_only=read_only):
                await read(session)
        assert "Try the transaction again" in refused.value.__notes__[-1]
        async with session.begin(read_only=read_only):
            assert await read(session) == ["ada"]


async def test_what_fails_for_another_reason_is_sent_once(cluster: Cluster, driver) -> None:
    async with migrated(cluster, driver, replicas=True) as db:
        sent: list[str] = []
        engine = db.cluster.replicas[0].engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda _c, _u, sql, *_: sent.append(sql))
        async with db.session() as session:
            with pytest.raises(DBAPIError, match="division by zero"):
                await session.execute(select(literal(1) / 0))
        assert len(sent) == 1
