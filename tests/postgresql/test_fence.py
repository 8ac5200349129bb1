"""Reads never go back in time between a replica and the primary, which may be the older one."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select, text

from models import Base, User
from orm import Database, NotCaughtUp
from orm.testing.postgresql import Cluster

_EMAILS = text("SELECT email FROM users")  # text goes to the primary


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@asynccontextmanager
async def database(cluster: Cluster, driver: Any) -> Any:
    """The primary, and the last standby only."""
    async with Database(cluster.primary.url(driver)) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    replicas = [cluster.standbys[-1].url(driver)]
    async with Database(cluster.primary.url(driver), replicas=replicas) as db:
        yield db


@asynccontextmanager
async def unfinished_commit(cluster: Cluster, email: str) -> Any:
    """A commit that standbys show, and the primary does not, for as long as the block."""
    primary, synchronous = cluster.primary, cluster.standbys[0]
    primary.set("synchronous_standby_names", synchronous.name)
    cluster.caught_up()
    synchronous.black_hole()
    insert = f"INSERT INTO users (email) VALUES ('{email}')"
    writing = asyncio.create_task(asyncio.to_thread(primary.sql, insert))
    try:
        yield
    finally:
        synchronous.thaw()
        await writing
        primary.set("synchronous_standby_names", "")


async def sees(session: Any, email: str) -> None:
    """Return when a replica has shown it."""
    while email not in (await session.scalars(select(User.email))).all():
        await session.commit()
        await asyncio.sleep(0.002)  # no server says when it shows a commit
    assert session.last_route.role == "replica"
    await session.commit()


async def test_the_primary_is_waited_for_until_it_shows_what_a_replica_has_shown(
    cluster: Cluster, driver: Any
) -> None:
    async with database(cluster, driver) as db, db.session() as session:
        async with unfinished_commit(cluster, "a"):
            await sees(session, "a")
            async with db.session() as other:  # which has seen nothing
                assert (await other.scalars(_EMAILS)).all() == []
            reading = asyncio.create_task(session.scalars(_EMAILS))
            done, _ = await asyncio.wait({reading}, timeout=0.3)
            assert not done
        assert (await reading).all() == ["a"]


async def test_a_primary_that_does_not_show_it_is_not_read_from(
    cluster: Cluster, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orm.sightings._FENCE", 0.1)  # a commit may hang for ever
    async with (
        database(cluster, driver) as db,
        db.session() as session,
        unfinished_commit(cluster, "a"),
    ):
        await sees(session, "a")
        with pytest.raises(NotCaughtUp, match="what was read on a replica"):
            await session.scalars(_EMAILS)


async def test_somebodys_long_transaction_is_not_waited_for(cluster: Cluster, driver: Any) -> None:
    async with database(cluster, driver) as db, db.session() as long:
        long.add(User(email="long"))
        await long.flush()
        for email in ("a", "b"):
            async with db.begin() as writer:
                writer.add(User(email=email))
        async with db.session() as session:
            await sees(session, "b")
            async with asyncio.timeout(2):
                assert set(await session.scalars(_EMAILS)) == {"a", "b"}
        await long.commit()
