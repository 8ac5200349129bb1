"""What PostgreSQL's positions stand for, on a real cluster."""

import asyncio

import pytest
from sqlalchemy import Engine, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError

from models import User
from orm import Database
from orm.backends import migrations_for
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, ReplicaUnavailable
from orm.testing import caught_up, followers, paused
from orm.testing.postgresql import Cluster, Server
from tests.conftest import PostgreSQL

pytestmark = pytest.mark.parametrize("servers", ["asyncpg", "psycopg"], indirect=True)


async def add(db: Database, email: str, *settings: str) -> str:
    async with db.session() as session:
        for setting in settings:
            await session.execute(text(setting))
        session.add(User(email=email))
        await session.commit()
        return await session.bookmark()


@pytest.mark.parametrize("setting", ["SELECT 1", "SET LOCAL synchronous_commit = off"])
async def test_a_commit_is_at_or_before_its_bookmark(servers: PostgreSQL, setting: str) -> None:
    """However it was committed: replicas that cover the bookmark show it, again and again."""
    async with servers.migrated(max_wait=5) as db:
        for number in range(30):
            token = await add(db, f"{number}", setting)
            async with db.session(token) as session:
                found = await session.scalar(select(User.id).where(User.email == f"{number}"))
                assert found is not None
                assert session.last_route


async def test_a_reader_of_an_unflushed_commit_is_not_ahead_of_its_bookmark(
    servers: PostgreSQL,
) -> None:
    """A transaction that only reads has flushed nothing of what it saw."""
    async with servers.migrated(max_wait=5) as db:
        for number in range(20):
            await add(db, f"{number}", "SET LOCAL synchronous_commit = off")
            async with db.begin() as reader:
                seen = set(await reader.scalars(select(User.email)))
            async with db.session(await reader.bookmark()) as later:
                assert set(await later.scalars(select(User.email))) >= seen


async def test_what_was_read_after_a_commit_in_text_is_not_ahead_of_the_bookmark(
    servers: PostgreSQL,
) -> None:
    """The transaction that wrote was flushed; the one that the session commits only read."""
    primary = servers.cluster.primary
    primary.set("wal_writer_delay", "10000")
    try:
        async with servers.migrated() as db, db.session() as session:
            session.add(User(email="a"))
            await session.flush()
            await session.execute(text("COMMIT"))
            await add(db, "b", "SET LOCAL synchronous_commit = off")
            assert set(await session.scalars(select(User.email))) == {"a", "b"}
            await session.commit()
            async with db.session(await session.bookmark()) as later:
                assert set(await later.scalars(select(User.email))) == {"a", "b"}
    finally:
        primary.set("wal_writer_delay", "200")


async def test_what_is_idle_is_reached(servers: PostgreSQL) -> None:
    """Reading writes hint bits, which no commit flushes: replicas must reach them."""
    if int(servers.cluster.primary.setting("server_version_num")) < 170000:
        pytest.skip("PostgreSQL flushes its log without a commit from 17 on")
    async with servers.migrated(max_wait=30) as db:
        async with db.begin() as writer:
            await writer.execute(insert(User), [{"email": str(n)} for n in range(500)])
        async with db.session("first-primary") as session, db.session() as long:
            long.add(User(email="of a transaction that goes on"))  # nor is this flushed
            await long.flush()
            assert len((await session.scalars(select(User))).all()) == 500
            await session.rollback()
            await session.scalars(select(User))
            assert session.last_route and session.last_route.role == "replica"


_FILL_A_PAGE = """\
DO $$ DECLARE gap integer; BEGIN FOR n IN 1 .. 1000 LOOP
    gap := 8192 - (pg_current_wal_insert_lsn() - '0/0') % 8192;
    EXIT WHEN gap = 8192 - 24;
    PERFORM pg_logical_emit_message(false, '', repeat('-', greatest(gap - 40 - n % 40, 0)));
END LOOP; END $$"""


@pytest.mark.parametrize("fill", [_FILL_A_PAGE, "SELECT pg_switch_wal()"], ids=["page", "segment"])
async def test_a_log_that_ends_with_its_page_is_reached(servers: PostgreSQL, fill: str) -> None:
    """The position counts the next page's header, which is written with the next record."""
    primary = servers.cluster.primary
    end = "SELECT (pg_current_wal_insert_lsn() - '0/0') % 8192"
    header = ["24" if fill == _FILL_A_PAGE else "40"]
    async with servers.migrated(max_wait=30) as db:
        before: list[str] = []
        token = ""
        while before != header or primary.sql(end) != header:  # the server writes by itself, too
            primary.sql(fill)
            before = primary.sql(end)
            async with db.begin() as reader:
                await reader.execute(text("SELECT 1"))
            token = await reader.bookmark()
        async with db.session(token) as session:
            await session.scalars(select(User))
            assert session.last_route and session.last_route.role == "replica"


_STANDS_STILL = (
    "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'startup'"
    " AND wait_event IN ('RecoveryPause', 'RecoveryApplyDelay')"
)


async def test_what_a_standby_that_stands_still_shows_is_no_later_than_where_it_stands(
    servers: PostgreSQL,
) -> None:
    one, two = servers.cluster.standbys
    replicas = servers.replica_urls[:1]
    async with servers.migrated() as primary:
        for stand_still in (one.pause, lambda: one.delay(3600)):
            async with servers.database(replicas=replicas, max_wait=30, fallback=False) as db:
                servers.cluster.caught_up()
                await db.status()
                stand_still()
                try:
                    await add(primary, f"{stand_still}")
                    two.caught_up(servers.cluster.primary)
                    one.wait(lambda: one.sql(_STANDS_STILL) == ["1"], "goes on")
                    async with db.session() as session:
                        seen = (await session.scalars(select(User.email))).all()
                        token = await session.bookmark()
                    async with db.session(token) as session:
                        assert (await session.scalars(select(User.email))).all() == seen
                finally:
                    one.resume()
                    one.delay(0)


async def test_a_standby_that_does_not_say_where_it_is_serves_no_session(
    servers: PostgreSQL,
) -> None:
    """As some services have it."""
    path = "silent, pg_catalog, public"
    connect = (
        {"options": f"-c search_path={path.replace(' ', '')}"}
        if "psycopg" in servers.url
        else {"server_settings": {"search_path": path}}
    )
    primary = servers.cluster.primary
    primary.sql(
        "CREATE SCHEMA silent; CREATE FUNCTION silent.pg_last_wal_replay_lsn() RETURNS pg_lsn"
        " LANGUAGE sql AS 'SELECT NULL::pg_lsn'"
    )
    servers.cluster.caught_up()
    try:
        async with servers.database(engine_options={"connect_args": connect}) as db:
            _, *standbys = await db.status()
            said = [(standby.at, standby.error) for standby in standbys]
            assert said == [(None, "its position is not known")] * 2
            async with db.session() as session:
                await session.scalar(select(1))
                assert session.last_route and session.last_route.role == "primary"
    finally:
        primary.sql("DROP SCHEMA silent CASCADE")


async def test_a_transaction_that_has_read_on_a_standby_is_nowhere(servers: PostgreSQL) -> None:
    async with Database(servers.url) as db:
        backend = db.cluster.backend
        engine = backend.writer_engine(make_url(servers.replica_urls[0]))
        async with engine.connect() as connection:
            await connection.execute(select(1))
            await connection.commit()
            assert await connection.run_sync(lambda c: backend.committed(c, wrote=False)) is None
        await engine.dispose()


async def test_a_caught_up_read_takes_no_round_trip_of_ours(
    servers: PostgreSQL, statements: list[str]
) -> None:
    async with servers.migrated() as db:
        token = await add(db, "a")
        await caught_up(db)
        async with db.session(token) as session:
            await session.scalars(select(User))  # learns the connection
        statements.clear()
        async with db.session(token) as session:
            await session.scalars(select(User))
            assert len(statements) == 1
            await session.bookmark()
            assert len(statements) == 2  # of the replica alone


async def test_a_thousand_waiting_readers_share_their_probes(
    servers: PostgreSQL, statements
) -> None:
    async with servers.migrated(max_wait=30) as db:
        async with paused(db):
            token = await add(db, "a")
            statements.probes = 0

            async def read() -> int:
                await db.cluster.watcher.wait(
                    Bookmark.decode(token), db.cluster.replicas, db.rules.max_wait
                )
                return 1

            readers = [asyncio.create_task(read()) for _ in range(1000)]
            await asyncio.sleep(0)  # all of them begin
            assert db.cluster.watcher.waiting == 1000
            one, _ = followers(db)
            await one.resume()
            assert sum(await asyncio.gather(*readers)) == 1000
        assert statements.probes < 500  # not one each


async def test_replicas_refuse_to_write(servers: PostgreSQL) -> None:
    async with servers.migrated() as db, db.session() as session:
        with pytest.raises(Exception, match="read-only"):
            await session.execute(
                text("INSERT INTO users (email) VALUES ('a')"),
                execution_options={"route": "read"},
            )


async def test_an_account_that_may_not_see_timelines_is_told_what_to_grant(
    servers: PostgreSQL, shared_cluster: Cluster
) -> None:
    primary = shared_cluster.primary
    primary.sql("CREATE ROLE nobody_special LOGIN; GRANT CREATE ON SCHEMA public TO nobody_special")
    shared_cluster.caught_up()
    driver = "psycopg" if "psycopg" in servers.url else "asyncpg"
    url = primary.url(driver, user="nobody_special")
    replicas = [s.url(driver, user="nobody_special") for s in shared_cluster.standbys]
    try:
        with pytest.raises(ReplicaUnavailable, match="GRANT pg_read_all_stats TO nobody_special"):
            async with Database(url, replicas=replicas):
                pass
        primary.sql("GRANT pg_read_all_stats TO nobody_special")
        shared_cluster.caught_up()
        async with Database(url, replicas=replicas) as db, db.session() as session:
            assert await session.scalar(select(1)) == 1
            assert session.last_route and session.last_route.role == "replica"
            primary.sql("REVOKE pg_read_all_stats FROM nobody_special")
            shared_cluster.caught_up()
            with pytest.raises(ConfigurationError, match="GRANT pg_read_all_stats TO nobody_spec"):
                await session.bookmark()
    finally:
        primary.sql("DROP OWNED BY nobody_special; DROP ROLE nobody_special")


async def test_a_number_of_replicas_is_for_another_engine(servers: PostgreSQL) -> None:
    with pytest.raises(ConfigurationError, match="give its replicas' URLs"):
        Database(servers.url, replicas=2)


def end_of_log(primary: Server) -> int:
    """Where the latest record ends: an insert position may count the header of the next page."""
    [inserted] = primary.sql("SELECT pg_current_wal_insert_lsn() - '0/0'")
    [segment] = primary.sql("SELECT pg_size_bytes(current_setting('wal_segment_size'))")
    if int(inserted) % int(segment) == 40:
        return int(inserted) - 40
    return int(inserted) - 24 if int(inserted) % 8192 == 24 else int(inserted)


async def test_a_commit_whose_settings_were_reloaded_is_at_or_before_its_position(
    servers: PostgreSQL,
) -> None:
    """It was asynchronous, and by the time that one can ask the server says that it is not."""
    primary = servers.cluster.primary
    primary.set("wal_writer_delay", "10000")
    try:
        async with servers.migrated() as db, db.cluster.writer.connect() as connection:
            async with connection.begin():
                await connection.execute(text("SELECT 1"))
            primary.set("synchronous_commit", "off")
            async with connection.begin():
                await connection.execute(insert(User), {"email": "a"})
            inserted = end_of_log(primary)
            primary.set("synchronous_commit", "on")
            at = await connection.run_sync(lambda c: db.cluster.backend.committed(c, wrote=True))
            assert at is not None
            assert max(lsn for _, lsn in at.position) >= inserted
            # Once it is certain again, what others have not flushed is left out.
            for email, setting in (("b", "SET LOCAL synchronous_commit = on"), ("c", "SELECT 1")):
                async with connection.begin():
                    await connection.execute(text(setting))
                    await connection.execute(insert(User), {"email": email})
                async with db.cluster.writer.connect() as other:
                    await other.execute(insert(User), {"email": "of another"})
                    at = await connection.run_sync(
                        lambda c: db.cluster.backend.committed(c, wrote=True)
                    )
            [flushed] = primary.sql("SELECT pg_current_wal_flush_lsn() - '0/0'")
            assert at is not None
            assert max(lsn for _, lsn in at.position) <= int(flushed)
            # What a transaction was told cannot be asked afterwards, in whatever words it was told.
            for email, setting in (
                ("d", text("SELECT set_config('synchronous_' || 'commit', 'off', true)")),
                ("e", text("SET LOCAL synchronous_commit = off")),
            ):
                async with connection.begin():
                    await connection.execute(setting.execution_options(no_parameters=email == "e"))
                    await connection.execute(insert(User), {"email": email})
                    inserted = end_of_log(primary)
                at = await connection.run_sync(
                    lambda c: db.cluster.backend.committed(c, wrote=True)
                )
                assert at is not None
                assert max(lsn for _, lsn in at.position) >= inserted
    finally:
        primary.set("synchronous_commit", "on")
        primary.set("wal_writer_delay", "200")


async def test_a_commit_that_is_refused(servers: PostgreSQL) -> None:
    async with servers.migrated() as db, db.session() as session:
        await session.execute(
            text("CREATE TABLE one (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
        await session.commit()
        await session.execute(text("INSERT INTO one VALUES (1), (1)"))
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()
        await session.execute(text("INSERT INTO one VALUES (1)"))
        await session.commit()


async def test_a_migration_that_commits_in_two_phases_is_at_or_before_its_position(
    servers: PostgreSQL,
) -> None:
    async with servers.migrated() as db:
        backend = db.cluster.backend
        engine = migrations_for(servers.url).engine(make_url(servers.url))
        assert isinstance(engine, Engine)
        with engine.connect() as connection:
            with connection.begin():
                backend.position(connection)
                connection.execute(insert(User), {"email": "a"})
            with connection.begin_twophase():
                connection.execute(insert(User), {"email": "b"})
                inserted = end_of_log(servers.cluster.primary)
            at = backend.committed(connection, wrote=True)
            assert at is not None
            assert max(lsn for _, lsn in at.position) >= inserted
        engine.dispose()
