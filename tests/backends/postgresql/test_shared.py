"""Servers behind a pooler, and several servers behind one address."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import Bookmark, BookmarkSession, Database
from orm.backends.postgresql import PostgreSQLBackend
from orm.exceptions import ConfigurationError, ReadOnlyError
from orm.routing import Reason
from orm.testing.postgresql import Cluster, Server
from tests.backends.postgresql.pooler import Pooler


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    return postgresql_cluster


@asynccontextmanager
async def pooled(
    cluster: Cluster,
    driver: Any,
    by: Literal["transaction", "connection"] = "transaction",
    **options: Any,
) -> AsyncIterator[Database]:
    """The primary, and both standbys behind one address."""
    primary, *standbys = cluster.servers
    url = make_url(primary.url(driver))
    async with Database(url) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    async with (
        Pooler([primary.port], by) as writers,
        Pooler([standby.port for standby in standbys], by) as readers,
        Database(
            url.set(port=writers.port), replicas=[url.set(port=readers.port)], **options
        ) as db,
    ):
        yield db


async def add(session: BookmarkSession, email: str) -> None:
    session.add(User(email=email))
    await session.commit()


async def emails(session: BookmarkSession) -> set[str]:
    return set(await session.scalars(select(User.email)))


def role(session: BookmarkSession) -> str:
    assert session.last_route is not None
    return session.last_route.role


SHARED = pytest.mark.parametrize(
    ("by", "options"),
    [("transaction", {"shared": True}), ("connection", {})],
    ids=["pooler", "balancer"],
)


@SHARED
async def test_who_writes_reads_it_whichever_server_it_meets(
    cluster: Cluster, driver: Any, by: Any, options: dict[str, Any]
) -> None:
    late, _ = cluster.standbys
    async with pooled(cluster, driver, by, **options) as db:
        late.pause()
        for number in range(20):
            async with db.session() as session:
                await add(session, f"{number}")
                assert f"{number}" in await emails(session)
                token = await session.bookmark()
            async with db.session(token) as session:
                assert f"{number}" in await emails(session)


@SHARED
async def test_what_was_read_is_read_again_whichever_server_it_meets(
    cluster: Cluster, driver: Any, by: Any, options: dict[str, Any]
) -> None:
    late, _ = cluster.standbys
    async with pooled(cluster, driver, by, **options) as db:
        late.partition()  # what it receives later would count as seen
        for number in range(20):
            async with db.begin() as writer:
                writer.add(User(email=f"{number}"))
            async with db.session() as session:
                seen = await emails(session)
                await session.rollback()
                assert await emails(session) >= seen
            async with db.session() as session:
                seen = await emails(session)
                await session.rollback()
                token = await session.bookmark()
            async with db.session(token) as session:
                assert await emails(session) >= seen


@SHARED
async def test_replicas_that_have_caught_up_serve(
    cluster: Cluster, driver: Any, by: Any, options: dict[str, Any]
) -> None:
    async with pooled(cluster, driver, by, **options, max_wait=30) as db:
        async with db.session() as session:
            await add(session, "ada")
            token = await session.bookmark()
        cluster.caught_up()
        async with db.session(token) as session:
            for _ in range(4):
                assert await emails(session) == {"ada"}
                assert role(session) == "replica"
                await session.rollback()
            stream = await session.stream_scalars(select(User.email))
            assert [email async for email in stream] == ["ada"]


async def test_one_snapshot_is_the_primarys(cluster: Cluster, driver: Any) -> None:
    async with pooled(cluster, driver, shared=True) as db, db.session() as session:
        async with session.begin(read_only=True):
            before = await emails(session)
            async with db.begin() as other:
                other.add(User(email="ada"))
            assert await emails(session) == before
            assert session.last_route and session.last_route.reason is Reason.ONE_SNAPSHOT


async def test_no_other_connection_is_asked_where_a_commit_lies(
    cluster: Cluster, driver: Any
) -> None:
    async with pooled(cluster, driver, shared=True) as db, db.session() as session:
        before = session.located
        await add(session, "ada")
        assert session.located == before
        assert not before.covers(Bookmark.decode(await session.bookmark()))


async def answers(*servers: Server) -> list[set[tuple[tuple[str, int], ...]]]:
    """What each of them says of itself, by one connection that leads to any of them."""
    backend, said = PostgreSQLBackend(), defaultdict[str, set[tuple[tuple[str, int], ...]]](set)
    async with Pooler([server.port for server in servers]) as pooler:
        url = make_url(servers[0].url()).set(port=pooler.port)
        engine = backend.reader_engine(url, shared=True)
        async with engine.connect() as connection:
            for _ in range(20):
                await connection.run_sync(backend.seen)
                server = await connection.run_sync(backend.incarnation)
                at = await connection.run_sync(backend.position)
                assert at is not None
                assert await connection.run_sync(backend.incarnation) == server
                said[server].add(at.position)
                await connection.rollback()
        await engine.dispose()
    return list(said.values())


async def test_each_server_has_a_timeline_and_forks_of_its_own(cluster: Cluster) -> None:
    one, two = cluster.standbys
    one.partition()
    cluster.primary.sql("CREATE TABLE later ()")
    two.caught_up(cluster.primary)
    two.promote()
    timelines = [{at[-1][0] for at in said} for said in await answers(one, two)]
    assert sorted(timelines, key=min) == [{"1"}, {"2"}]
    one.promote()  # at another place: both are on the second timeline
    for server in (one, two):
        server.sql("CREATE TABLE longer AS SELECT generate_series(1, 100) AS n")
    [first], [second] = ({dict(at)["1"] for at in said} for said in await answers(one, two))
    assert first != second


async def test_a_write_on_a_read_connection_is_an_error(cluster: Cluster, driver: Any) -> None:
    insert = text("INSERT INTO users (email) VALUES ('ada')").execution_options(route="read")
    async with pooled(cluster, driver, shared=True) as db, db.session("first-primary") as session:
        with pytest.raises(ReadOnlyError):
            await session.execute(insert)


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "REPEATABLE READ"},
        {"execution_options": {"isolation_level": "REPEATABLE READ"}},
    ],
    ids=["engine", "execution_options"],
)
async def test_what_is_read_is_later_than_what_the_server_was_asked(
    cluster: Cluster, driver: Any, options: dict[str, Any]
) -> None:
    """Else it could be older than its position, whatever writers of the application want."""
    shown = text("SHOW transaction_isolation").execution_options(route="read")
    async with (
        pooled(cluster, driver, shared=True, engine_options=options) as db,
        db.session() as session,
    ):
        assert await session.scalar(shown) == "read committed"
        assert role(session) == "replica"


async def test_a_pooler_that_is_not_named_is_noticed(cluster: Cluster, driver: Any) -> None:
    with pytest.raises(DBAPIError, match="shared=True"):
        async with pooled(cluster, driver):
            pass


def test_there_is_no_pooler_before_files() -> None:
    with pytest.raises(ConfigurationError, match="pooler"):
        Database("sqlite+aiosqlite:///app.db", shared=True)
