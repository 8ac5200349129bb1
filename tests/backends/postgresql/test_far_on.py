"""Positions of a cluster that has gone far: on a late timeline, with a long log."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text

from models import Base, User
from orm import Bookmark, Database, WriteLost
from orm.backends.postgresql import forks
from orm.testing.postgresql import Cluster
from tests.backends.postgresql.far_on import FORKS, TIMELINE, far_on


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with far_on(tmp_path_factory.mktemp("far_on")) as cluster:
        yield cluster


def database(cluster: Cluster, driver: Any, **options: Any) -> Database:
    urls = [server.url(driver) for server in cluster.servers]
    return Database(urls[0], replicas=urls[1:], **options)


def assert_short(token: str) -> None:
    """It names the present timeline, far in the log, and no other one."""
    [(timeline, at)] = Bookmark.decode(token).position
    assert (timeline, at >> 32) == (str(TIMELINE), 3)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_sessions_go_on(cluster: Cluster, driver: Any) -> None:
    async with database(cluster, driver, max_wait=30) as db:
        async with db.connect() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()
        async with db.begin() as writer:
            writer.add(User(email="a"))
        token = await writer.bookmark()
        assert_short(token)
        async with db.session(token) as session:
            assert (await session.scalars(select(User.email))).all() == ["a"]
            assert session.last_route and session.last_route.role == "replica"
            assert_short(await session.bookmark())
        async with db.session("first-primary") as session:
            assert (await session.scalars(select(User.email))).all() == ["a"]
            assert session.last_route and session.last_route.role == "primary"
            assert_short(await session.bookmark())


async def test_earlier_timelines_are_known_by_where_they_were_left(cluster: Cluster) -> None:
    async with database(cluster, "asyncpg") as db:
        for server in await db.status():
            assert server.at is not None
            known = dict(server.at.position)
            assert known.pop(str(TIMELINE)) >> 32 == 3
            assert known == {str(old): at for old, at in FORKS.items()}
        history = server.at.history
        for timeline, at, match in (
            (19, FORKS[19], None),
            (19, FORKS[19] + 1, "1 bytes after 2/13000000, where a failover left timeline 19"),
            (1, FORKS[1], None),
        ):
            token = Bookmark(history, ((str(timeline), at),)).encode()
            async with db.session(token) as session:
                if match is None:
                    await session.scalar(select(1))
                else:
                    with pytest.raises(WriteLost, match=match):
                        await session.scalar(select(1))


async def test_a_standby_that_is_still_on_an_earlier_timeline(cluster: Cluster) -> None:
    """It receives the latest one already. That is soon over, so here one is made that stays so."""
    at = FORKS[18] - 1
    cluster.primary.sql(
        "CREATE SCHEMA late; CREATE FUNCTION late.pg_last_wal_replay_lsn() RETURNS pg_lsn"
        f" LANGUAGE sql AS $$ SELECT pg_lsn '0/0' + {at} $$"
    )
    cluster.caught_up()
    path = {"server_settings": {"search_path": "late, pg_catalog, public"}}
    async with database(cluster, "asyncpg", engine_options={"connect_args": path}) as db:
        _, *standbys = await db.status()
        for standby in standbys:
            assert standby.at is not None
            left = {str(old): FORKS[old] for old in range(1, 18)}
            assert dict(standby.at.position) == left | {"18": at}
        async with db.session() as session:
            assert await session.scalar(select(1)) == 1
            assert session.last_route and session.last_route.role == "primary"


@pytest.mark.parametrize("why", ["no privilege", "no file"])
async def test_where_timelines_were_left_cannot_be_read(
    cluster: Cluster, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_known", OrderedDict())  # as in a process that begins
    user = "tenant" if why == "no privilege" else "postgres"
    files = [server.data / "pg_wal" / f"{TIMELINE:08X}.history" for server in cluster.servers]
    if why == "no privilege":
        cluster.primary.sql("CREATE ROLE tenant LOGIN IN ROLE pg_read_all_stats")
        cluster.caught_up()
    else:
        for file in files:
            file.rename(file.with_suffix(".away"))
    urls = [server.url(user=user) for server in cluster.servers]
    async with Database(urls[0], replicas=urls[1:]) as db, db.session() as session:
        assert await session.scalar(select(1)) == 1
        bookmark = Bookmark.decode(await session.bookmark())
        assert [timeline for timeline, _ in bookmark.position] == [str(TIMELINE)]
        token = Bookmark(bookmark.history, ((str(TIMELINE - 1), 1),)).encode()
        async with db.session(token) as later:
            with pytest.raises(WriteLost, match="cannot be told"):
                await later.scalar(select(1))
    if why == "no file":
        for file in files:
            file.with_suffix(".away").rename(file)


async def test_one_more_failover(cluster: Cluster) -> None:
    """Who is connected to the standby stays so while it is promoted."""
    old, (one, two) = cluster.primary, cluster.standbys
    async with database(cluster, "asyncpg") as db:
        async with db.begin() as writer:
            await writer.execute(text("CREATE TABLE before ()"))
        before = await writer.bookmark()
        cluster.caught_up()
        await db.status()
        two.partition()  # else it might go further than the new primary, and not follow it
        old.kill()
        cluster.promote(one)
        two.follow(one)
        for _ in range(2):
            await db.status()
        async with db.begin() as writer:
            await writer.execute(text("CREATE TABLE after ()"))
        for token in (before, await writer.bookmark()):
            async with db.session(token) as session:
                assert await session.scalar(select(1)) == 1
