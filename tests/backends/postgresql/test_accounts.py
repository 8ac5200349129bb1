"""What each grant lets an account know of a failover, on real clusters."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from models import Base, User
from orm import Database, WriteLost
from orm.exceptions import ReplicaUnavailable
from orm.testing.postgresql import Cluster
from tests.conftest import over

_ACCOUNT = "my-app"  # which SQL has to quote
_ROLE = f"""CREATE ROLE "{_ACCOUNT}" LOGIN IN ROLE pg_read_all_data, pg_write_all_data"""
_STATS = f'GRANT pg_read_all_stats TO "{_ACCOUNT}"'
_MONITOR = f'GRANT pg_monitor TO "{_ACCOUNT}"'
_FILE = f'GRANT EXECUTE ON FUNCTION pg_read_file(text) TO "{_ACCOUNT}"'
_REPLICATION = f'ALTER ROLE "{_ACCOUNT}" REPLICATION'


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.primary.sql(_ROLE)
        yield cluster


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


async def migrate(cluster: Cluster) -> None:
    async with Database(cluster.primary.url()) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()


def database(cluster: Cluster, driver, **options: float) -> Database:
    urls = [f"{server.url(driver, user=_ACCOUNT)}?sslmode=prefer" for server in cluster.servers]
    return over(urls[0], urls[1:], **options)


async def add(db: Database, email: str) -> str:
    async with db.begin() as session:
        session.add(User(email=email))
    return await session.bookmark()


async def emails(db: Database, token: str) -> set[str]:
    async with db.session(token) as session:
        return set(await session.scalars(select(User.email)))


def fail_over(cluster: Cluster) -> None:
    old, new, other = cluster.servers
    other.partition()  # else it might go further than the new primary, and not follow it
    old.kill()
    cluster.promote(new)
    other.follow(new)


def forget(cluster: Cluster) -> None:
    """Have nothing be known of what the servers were before the failover."""
    _, new, other = cluster.servers
    for server in (new, other):
        server.restart()
    cluster.caught_up()


async def write_kept_and_lost(cluster: Cluster, db: Database) -> tuple[str, str]:
    kept = await add(db, "kept")
    cluster.caught_up()
    await db.status()
    new, other = cluster.standbys
    for standby in (other, new):  # in that order: else the other one may go further than the new
        standby.partition()
    return kept, await add(db, "lost")


@pytest.mark.parametrize("grants", [(_STATS, _FILE), (_STATS, _REPLICATION)])
async def test_what_a_failover_has_lost_is_told_to_a_process_that_begins_after_it(
    cluster: Cluster, driver, grants: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    for grant in grants:
        cluster.primary.sql(grant)
    await migrate(cluster)
    async with database(cluster, driver) as db:
        kept, lost = await write_kept_and_lost(cluster, db)
        fail_over(cluster)
    forget(cluster)
    async with database(cluster, driver) as db:
        await add(db, "after")
        cluster.caught_up()
        assert await emails(db, kept) >= {"kept"}
        with pytest.raises(WriteLost, match="gone"):
            await emails(db, lost)
        await db.status()
        assert [one.error for one in db.last_status() if one.name == "replica-2"] == [None]
    assert "after a failover" not in caplog.text


@pytest.mark.parametrize("grant", [_STATS, _MONITOR])
async def test_without_a_grant_a_process_knows_what_it_has_seen(
    cluster: Cluster, driver, grant: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.primary.sql(grant)
    await migrate(cluster)
    async with database(cluster, driver) as db:
        kept, lost = await write_kept_and_lost(cluster, db)
        fail_over(cluster)
        for _ in range(2):  # the first answers may change what the later ones mean
            await db.status()
        await add(db, "after")
        cluster.caught_up()
        await db.status()
        assert [one.error for one in db.last_status() if one.name == "replica-2"] == [None]
        assert await emails(db, kept) >= {"kept"}
        with pytest.raises(WriteLost, match="cannot be told"):
            await emails(db, lost)

    forget(cluster)
    caplog.clear()
    async with database(cluster, driver) as db:
        with pytest.raises(WriteLost, match="cannot be told"):
            await emails(db, kept)
    [warning] = [one for one in caplog.messages if one.startswith("after a failover")]
    said = re.findall(r"(?:GRANT|ALTER)[^;]+;", warning)
    assert len(said) == 2
    for statement, undo in zip(
        said, (_FILE.replace("GRANT", "REVOKE").replace(" TO ", " FROM "), ""), strict=True
    ):
        cluster.primary.sql(statement)
        forget(cluster)
        async with database(cluster, driver) as db:
            assert await emails(db, kept) >= {"kept"}
        if undo:
            cluster.primary.sql(undo)


async def test_an_account_without_any_grant_is_told_a_statement_that_runs(
    cluster: Cluster, driver
) -> None:
    await migrate(cluster)
    with pytest.raises(ReplicaUnavailable) as caught:
        await database(cluster, driver).start()
    said = re.search(r"GRANT .*", str(caught.value))
    assert said is not None
    cluster.primary.sql(said[0])
    cluster.caught_up()
    async with database(cluster, driver) as db:
        await add(db, "first")


async def test_a_replication_connection_that_takes_long_holds_no_server_up(
    cluster: Cluster, driver, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.primary.sql(_STATS)
    cluster.primary.sql(_REPLICATION)
    await migrate(cluster)
    async with database(cluster, driver, dead_after=2.0) as db:
        kept, _ = await write_kept_and_lost(cluster, db)
        for standby in cluster.standbys:
            standby.set("pre_auth_delay", "2")  # of connections that are made from now on
        fail_over(cluster)
        for _ in range(2):
            await db.status()
        assert await emails(db, kept) >= {"kept"}
    assert "replica-1 is taken for dead" not in caplog.text
    assert "has not answered" not in caplog.text
