"""Transactions that are tried again when the primary is lost, before COMMIT and in it."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import BookmarkSession, Database
from orm.testing.mysql import Cluster
from orm.testing.postgresql import Proxy
from tests.conftest import started

DRIVERS = {"mariadb": "asyncmy", "mysql": "aiomysql"}


@pytest.fixture(params=DRIVERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One that a test may change for good, with an empty database."""
    with started(request.param) as cluster, cluster.database() as name:
        for server in cluster.servers:
            server.database = name
        yield cluster


async def created(db: Database) -> None:
    async with db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()


async def emails(db: Database) -> list[str]:
    async with db.session("first-primary") as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_connection_that_is_lost_in_commit(cluster: Cluster, idempotent: bool) -> None:
    """The COMMIT arrives, and its answer does not: it is done again only if it may be."""
    url = cluster.primary.url(DRIVERS[cluster.flavour])  # type: ignore[arg-type]
    tried: list[BookmarkSession] = []
    async with Proxy(cluster.primary.port) as proxy, Database(proxy.url(url)) as db:
        await created(db)

        async def add(session: BookmarkSession) -> None:
            tried.append(session)
            session.add(User(email=f"{len(tried)}"))
            await session.flush()
            if len(tried) == 1:
                proxy.cut_at(b"COMMIT")

        async with asyncio.timeout(200):
            if idempotent:
                await db.run(add, idempotent=True)
            else:
                with pytest.raises(DBAPIError) as lost:
                    await db.run(add)
                assert "may have been committed" in "".join(lost.value.__notes__)
        assert proxy.has_cut
        assert await emails(db) == (["1", "2"] if idempotent else ["1"])


async def test_a_primary_that_restarts_before_commit(cluster: Cluster) -> None:
    primary = cluster.primary
    tried: list[BookmarkSession] = []
    async with Database(primary.url(DRIVERS[cluster.flavour])) as db:  # type: ignore[arg-type]
        await created(db)

        def restart() -> None:
            primary.kill()
            primary.start()

        async def add(session: BookmarkSession) -> None:
            tried.append(session)
            session.add(User(email=f"{len(tried)}"))
            await session.flush()
            if len(tried) == 1:
                await asyncio.to_thread(restart)
            await session.scalar(text("SELECT 1"))  # else COMMIT is what does not arrive

        async with asyncio.timeout(200):
            await db.run(add, retry_for=120)
        assert await emails(db) == [f"{len(tried)}"]
        assert len(tried) > 1
