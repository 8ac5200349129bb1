"""Failovers of MariaDB and MySQL: who becomes the primary, and what is known to be lost."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from models import Base, User
from orm import Bookmark, Database, WriteLost
from orm.exceptions import ConfigurationError, NoPrimary, NotCaughtUp, OrmError
from orm.testing.mysql import Cluster, Server
from tests.backends.away import needs_the_primary
from tests.conftest import started

DRIVERS = {"mariadb": "asyncmy", "mysql": "aiomysql"}


@pytest.fixture(params=DRIVERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One that a test may change for good, with an empty database."""
    with started(request.param) as cluster, cluster.database() as name:
        for server in cluster.servers:
            server.database = name
        yield cluster


def url(cluster: Cluster, server: Server) -> str:
    return server.url(DRIVERS[cluster.flavour])  # type: ignore[arg-type]


def database(cluster: Cluster) -> Database:
    """All servers, the first one as the primary, whatever they are now."""
    primary, *replicas = cluster.servers
    return Database(url(cluster, primary), replicas=[url(cluster, one) for one in replicas])


async def created(db: Database) -> None:
    async with db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()


async def written(db: Database, email: str) -> str:
    """Write as soon as a primary takes it; the bookmark after it."""
    while True:
        try:
            async with db.begin() as session:
                session.add(User(email=email))
            return await session.bookmark()
        except (OperationalError, NotCaughtUp):
            await db.cluster.primary.probe()


async def emails(db: Database, token: str) -> set[str]:
    async with db.session(token) as session:
        return set(await session.scalars(select(User.email)))


async def test_what_needs_the_primary_says_that_it_is_away(cluster: Cluster) -> None:
    primary = cluster.primary
    async with database(cluster) as db:
        await created(db)
        cluster.caught_up()
        async with db.session() as session:
            await asyncio.to_thread(primary.kill)
            await needs_the_primary(db, "cannot be reached")
            with pytest.raises(NoPrimary):
                await session.connection()
            await asyncio.to_thread(primary.start)
            session.add(User(email="ada"))
            await session.commit()
            assert (await session.scalars(select(User.email))).all() == ["ada"]


async def test_what_a_failover_loses_is_known_even_after_the_switch_back(cluster: Cluster) -> None:
    first, second, third = cluster.servers
    async with database(cluster) as db:
        await created(db)
        before = await written(db, "before")
        cluster.caught_up()
        for replica in (second, third):
            replica.partition()
        lost = await written(db, "lost")

        first.kill()
        cluster.promote(second)
        third.follow(second)
        after = await written(db, "after")
        third.caught_up(second)  # else it may serve who needs no more than "before"
        assert await emails(db, before) == await emails(db, after) == {"before", "after"}
        with pytest.raises(WriteLost, match="term 1"):
            await emails(db, lost)

        first.rejoin(second)
        for replica in (first, third):
            replica.caught_up(second)
        second.sql("SET GLOBAL read_only = ON")
        cluster.promote(first)
        second.follow(first)
        third.follow(first)
        again = await written(db, "again")
        for number in range(5):  # the numbers that were lost are in use again
            again = await written(db, f"again {number}")
        cluster.caught_up()
        assert await emails(db, before) == await emails(db, again) > {"before", "after", "again"}
        with pytest.raises(WriteLost):
            await emails(db, lost)
    async with database(cluster) as another:
        assert await emails(another, again) > {"before", "after", "again"}
        with pytest.raises(WriteLost):
            await emails(another, lost)


async def test_no_server_takes_the_place_of_a_primary_that_is_there(cluster: Cluster) -> None:
    first, second, _ = cluster.servers
    async with database(cluster) as db:
        await created(db)
        cluster.caught_up()
        second.promote()  # by mistake
        token = await written(db, "a")
        await db.cluster.replicas[0].probe()
        await db.cluster.primary.probe()
        assert db.cluster.primary.url.port == first.port
        assert await emails(db, token) == {"a"}


async def test_a_server_with_writes_of_its_own_serves_no_session(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    _, second, _ = cluster.servers
    async with database(cluster) as db:
        await created(db)
        await written(db, "a")
        cluster.caught_up()
        [replica] = [one for one in db.cluster.replicas if one.url.port == second.port]
        await replica.probe()
        assert replica.knowledge.at is not None
        second.sql("CREATE TABLE by_mistake (id int)")  # as root, on a replica
        await replica.probe()
        assert replica.knowledge.at is None
    assert "that no primary has had" in caplog.text


async def test_a_replica_that_takes_writes_is_told_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    _, second, _ = cluster.servers
    async with database(cluster) as db:
        await created(db)
        [replica] = [one for one in db.cluster.replicas if one.url.port == second.port]
        await replica.probe()
        assert "takes writes" not in caplog.text
        second.sql("SET GLOBAL read_only = OFF")
        for _ in range(3):
            await replica.probe()
        assert caplog.text.count("takes writes, and replicates") == 1
        assert f":{second.port}/" in caplog.text


async def test_an_account_that_writes_on_read_only_servers_is_told_at_start(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary = url(cluster, cluster.primary)
    async with Database(ordinary) as db:
        await created(db)
    assert "read-only servers" not in caplog.text
    privilege = "READ_ONLY ADMIN" if cluster.flavour == "mariadb" else "CONNECTION_ADMIN"
    for statement in (
        "CREATE USER operator@'%'",
        "GRANT ALL ON `test\\_%`.* TO operator@'%'",
        f"GRANT {privilege} ON *.* TO operator@'%'",
    ):
        cluster.primary.sql(statement)
    async with Database(ordinary.replace("app@", "operator@")) as db:
        await written(db, "a")
    assert caplog.text.count(f"an account with {privilege}, which writes on read-only") == 1


async def test_several_domains_are_refused(cluster: Cluster) -> None:
    if cluster.flavour == "mysql":
        pytest.skip("MariaDB has domains")
    cluster.primary.sql("SET GLOBAL gtid_domain_id = 1")
    cluster.primary.sql("CREATE TABLE elsewhere (id int)")
    with pytest.raises(ConfigurationError, match="domain"):
        await Database(url(cluster, cluster.primary)).start()


async def test_a_frozen_server_holds_up_no_read(cluster: Cluster) -> None:
    async with database(cluster) as db:
        await created(db)
        token = await written(db, "a")
        cluster.caught_up()
        cluster.standbys[0].freeze()
        async with asyncio.timeout(60):  # drivers would wait for ever
            for _ in range(20):
                assert await emails(db, token) == {"a"}


async def test_every_wait_on_a_server_ends(cluster: Cluster) -> None:
    """Where MySQL takes 0 s for ever, MariaDB waits on a primary, and no such number exists."""
    async with database(cluster) as db:
        await created(db)
        at = Bookmark.decode(await written(db, "a"))
        [(term, number)] = at.position
        backend = db.cluster.backend
        async with asyncio.timeout(60):
            async with db.cluster.replicas[0].engine.connect() as connection:
                for need in (number, number + 1000, 2**63 - 1):
                    goal = Bookmark(at.history, ((term, need),))
                    assert await connection.run_sync(backend.wait_until, goal, 0.0)
            async with db.cluster.primary.engine.connect() as connection:
                assert not await connection.run_sync(backend.wait_until, at, 3600.0)


async def test_a_replica_is_no_primary(cluster: Cluster) -> None:
    with pytest.raises(OrmError, match="it is a standby"):
        await Database(url(cluster, cluster.standbys[0])).start()


async def test_a_server_without_order_is_refused(cluster: Cluster) -> None:
    setting = "gtid_strict_mode" if cluster.flavour == "mariadb" else "gtid_mode"
    value = "OFF" if cluster.flavour == "mariadb" else "ON_PERMISSIVE"
    cluster.primary.sql(f"SET GLOBAL {setting} = {value}")
    with pytest.raises(ConfigurationError, match=setting):
        await Database(url(cluster, cluster.primary)).start()


@pytest.mark.parametrize(
    ("driver", "why"), [("mariadbconnector", "no error"), ("pymysql", "no async driver")]
)
async def test_drivers_that_cannot_be_used_are_refused(driver: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Database(f"mysql+{driver}://app@localhost/app")
    with pytest.raises(ConfigurationError, match=r"use mariadb\+asyncmy:// or mariadb\+aiomysql"):
        Database(f"mariadb+{driver}://app@localhost/app")


async def test_a_reader_does_not_write(cluster: Cluster) -> None:
    async with database(cluster) as db:
        await created(db)
        for server in (db.cluster.primary, *db.cluster.replicas):
            async with server.engine.connect() as connection:
                with pytest.raises(DBAPIError) as refused:
                    await connection.execute(text("INSERT INTO users (email) VALUES ('x')"))
                assert db.cluster.backend.is_read_only(refused.value)
