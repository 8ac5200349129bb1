"""Reads never go back in time between a replica and the primary, which may be the older one."""

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import select, text

from models import Base, User
from orm import Bookmark, Database
from orm.exceptions import ConfigurationError, PrimaryBehind
from orm.testing.postgresql import Cluster
from tests.backends.postgresql.far_on import far_on

_EMAILS = text("SELECT email FROM users")  # text goes to the primary
_INSERT = "INSERT INTO users (email) VALUES ('a')"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with far_on(tmp_path_factory.mktemp("far_on")) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the primary is waited for does not matter here: a machine may stand still."""
    monkeypatch.setattr("orm.routing.fence.FENCE", 60.0)


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@asynccontextmanager
async def database(cluster: Cluster, driver: Any, standbys: int = 1, **options: Any) -> Any:
    """The primary, and the last standby only; or both."""
    async with Database(cluster.primary.url(driver)) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    async with as_it_is(cluster, driver, standbys, **options) as db:
        yield db


def as_it_is(cluster: Cluster, driver: Any, standbys: int = 1, **options: Any) -> Database:
    replicas = [standby.url(driver) for standby in cluster.standbys[-standbys:]]
    return Database(
        cluster.primary.url(driver), replicas=replicas, **{"dead_after": 10.0} | options
    )


@asynccontextmanager
async def unfinished_commit(cluster: Cluster, commit: str) -> Any:
    """A commit that standbys show, and the primary does not, for as long as the block."""
    primary, synchronous = cluster.primary, cluster.standbys[0]
    primary.set("synchronous_standby_names", synchronous.name)
    primary.sql("CHECKPOINT")  # by the process that has commits wait: it has read it by now
    cluster.caught_up()
    synchronous.black_hole()
    writing = asyncio.create_task(asyncio.to_thread(primary.sql, commit))
    try:
        yield
    finally:
        synchronous.thaw()
        await writing
        primary.set("synchronous_standby_names", "")


async def sees(session: Any, email: str) -> None:
    """Return when a replica has shown it. The primary serves while none has caught up."""
    while True:
        seen = (await session.scalars(select(User.email))).all()
        await session.commit()
        if email in seen and session.last_route.role == "replica":
            return
        await asyncio.sleep(0.002)  # no server says when it shows a commit


async def who_sees(db: Database, email: str) -> Any:
    """A session to which a replica has shown it, whichever does."""
    while True:
        session = db.session()
        if email in (await session.scalars(select(User.email))).all():
            await session.commit()
            return session
        await session.close()
        await asyncio.sleep(0.002)  # no server says when it shows a commit


async def test_the_primary_is_waited_for_until_it_shows_what_a_replica_has_shown(
    cluster: Cluster, driver: Any
) -> None:
    async with database(cluster, driver) as db, db.session() as session, db.session() as long:
        long.add(User(email="long"))  # an earlier one, of which standbys know by a later one
        await long.flush()
        cluster.primary.sql("SELECT pg_logical_emit_message(true, '', '')")
        async with unfinished_commit(cluster, _INSERT):
            await sees(session, "a")
            async with db.session() as other:  # which has seen nothing
                assert (await other.scalars(_EMAILS)).all() == []
            began = monotonic()
            reading = asyncio.create_task(session.scalars(_EMAILS))
            done, _ = await asyncio.wait({reading}, timeout=0.3)
            assert not done
        assert (await reading).all() == ["a"]
        assert session.last_route is not None
        assert 0 < session.last_route.fenced <= monotonic() - began
        assert "fenced" in repr(session.last_route)


async def test_a_primary_that_does_not_show_it_is_not_read_from(
    cluster: Cluster, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orm.routing.fence.FENCE", 0.1)  # a commit may hang for ever
    async with (
        database(cluster, driver) as db,
        db.session() as session,
        unfinished_commit(cluster, _INSERT),
    ):
        await sees(session, "a")
        with pytest.raises(PrimaryBehind, match="what was read on a replica"):
            await session.scalars(_EMAILS)


async def test_another_session_s_long_transaction_is_not_waited_for(
    cluster: Cluster, driver: Any
) -> None:
    async with database(cluster, driver) as db, db.session() as long:
        long.add(User(email="long"))
        await long.flush()
        for email in ("a", "b"):
            async with db.begin() as writer:
                writer.add(User(email=email))
        async with db.session() as session:
            await sees(session, "b")
            assert set(await session.scalars(_EMAILS)) == {"a", "b"}
        await long.commit()


async def in_the_primarys_past(session: Any) -> None:
    """The session, which has to see "a", waits for the primary to show it."""
    reading = asyncio.create_task(session.scalars(_EMAILS))
    done, _ = await asyncio.wait({reading}, timeout=0.3)
    assert not done
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_bookmark_hands_on_what_a_replica_has_shown(cluster: Cluster, driver: Any) -> None:
    async with database(cluster, driver) as db:
        async with unfinished_commit(cluster, _INSERT):
            async with db.session() as session:
                await sees(session, "a")
                token = await session.bookmark()
            async with db.session(token) as other:
                await in_the_primarys_past(other)
            async with db.session(token) as third, db.session() as stranger:
                await third.scalars(select(User.email))
                async with db.session(
                    [await stranger.bookmark(), await third.bookmark()]
                ) as merged:
                    await in_the_primarys_past(merged)
        async with db.session(token) as later:
            assert (await later.scalars(_EMAILS)).all() == ["a"]


async def test_a_prepared_transaction_is_waited_for_while_it_is_committed(
    cluster: Cluster, driver: Any
) -> None:
    """The number is that of no process."""
    async with database(cluster, driver) as db:
        cluster.primary.sql(f"BEGIN; {_INSERT}; PREPARE TRANSACTION 'prepared'")
        async with unfinished_commit(cluster, "COMMIT PREPARED 'prepared'"):
            async with db.session() as session:
                await sees(session, "a")
                token = await session.bookmark()
                await in_the_primarys_past(session)
            cluster.standbys[-1].kill()
            try:
                async with db.session(token) as other:
                    await in_the_primarys_past(other)
            finally:
                cluster.standbys[-1].start()


_BURN = """\
DO $$ BEGIN
    WHILE pg_current_xact_id() < '{}' LOOP COMMIT; END LOOP;
END $$"""
_SUBTRANSACTIONS = """\
DO $$ BEGIN
    FOR n IN 1 .. {} LOOP
        BEGIN INSERT INTO users (email) VALUES (n); EXCEPTION WHEN division_by_zero THEN NULL; END;
    END LOOP;
END $$"""


async def test_numbers_of_transactions_go_on_beyond_32_bits(tmp_path: Path) -> None:
    with far_on(tmp_path) as cluster:
        async with database(cluster, "asyncpg") as db, db.session() as long:
            cluster.primary.sql(_BURN.format(2**32 - 10))
            # What ended last has a number before that, and what is under way one after it.
            await long.execute(text(_SUBTRANSACTIONS.format(20)))
            async with unfinished_commit(cluster, _INSERT):
                async with db.session() as session:
                    await sees(session, "a")
                    token = await session.bookmark()
                    assert Bookmark.decode(token).shown > 2**32
                    await in_the_primarys_past(session)
                cluster.standbys[-1].kill()
                async with db.session(token) as other:
                    await in_the_primarys_past(other)


@pytest.mark.parametrize("standbys", [1, 2])  # with 2 there is one that has not heard of it
async def test_it_is_awaited_when_no_replica_can_be_asked(
    cluster: Cluster, driver: Any, standbys: int
) -> None:
    async with (
        database(cluster, driver, standbys) as db,
        unfinished_commit(cluster, _INSERT),
    ):
        async with await who_sees(db, "a") as session, await who_sees(db, "a") as cut_off:
            token = await session.bookmark()
            cluster.standbys[-1].kill()
            try:
                await in_the_primarys_past(cut_off)  # its replica had no time to say what it showed
                async with db.session(token) as other:
                    await in_the_primarys_past(other)
            finally:
                cluster.standbys[-1].start()


@pytest.mark.parametrize("busy", [False, True])
async def test_another_session_s_long_transaction_is_not_waited_for_when_no_replica_can_be_asked(
    cluster: Cluster, driver: Any, busy: bool
) -> None:
    async with database(cluster, driver) as db, db.session() as long:
        long.add(User(email="long"))
        await long.flush()
        async with db.begin() as writer:
            writer.add(User(email="a"))
        async with db.session() as session:
            await sees(session, "a")
            token = await session.bookmark()
        working = asyncio.create_task(long.execute(text("SELECT pg_sleep(3600)"))) if busy else None
        cluster.standbys[-1].kill()
        try:
            async with db.session(token) as other:
                assert (await other.scalars(_EMAILS)).all() == ["a"]
        finally:
            cluster.standbys[-1].start()
        if working:
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working


async def test_another_session_s_later_commit_is_not_waited_for(
    cluster: Cluster, driver: Any
) -> None:
    async with database(cluster, driver) as db, db.session() as long:
        long.add(User(email="long"))  # nor is this one, while another session's commit waits
        await long.flush()
        cluster.primary.sql("SELECT pg_logical_emit_message(true, '', '')")
        async with db.session() as session:
            await session.scalars(select(User))
            token = await session.bookmark()
        async with unfinished_commit(cluster, _INSERT):
            async with db.session() as session:
                await sees(session, "a")
            cluster.standbys[-1].kill()
            try:
                async with db.session(token) as other:
                    assert (await other.scalars(_EMAILS)).all() == []
            finally:
                cluster.standbys[-1].start()


async def test_a_replica_with_one_connection_is_asked_on_it(cluster: Cluster, driver: Any) -> None:
    options = {"engine_options": {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}}
    async with database(cluster, driver) as elsewhere, elsewhere.session() as long:
        long.add(User(email="long"))
        await long.flush()
        async with elsewhere.begin() as writer:
            writer.add(User(email="a"))
        async with as_it_is(cluster, driver, **options) as db, db.session() as session:
            await sees(session, "a")
            await session.scalars(select(User))
            assert (await session.scalars(_EMAILS)).all() == ["a"]


async def test_a_forged_fence_is_not_waited_for(cluster: Cluster, driver: Any) -> None:
    async with database(cluster, driver) as db, db.session() as long:
        await long.execute(text("SELECT pg_current_xact_id()"))  # no standby has heard of it
        async with db.session() as session:
            await session.scalars(select(User))
            forged = replace(Bookmark.decode(await session.bookmark()), shown=2**63 - 1)
        async with db.session(forged.encode()) as stranger:
            assert (await stranger.scalars(_EMAILS)).all() == []
        assert [server.error for server in db.last_status()] == [None, None]


async def test_what_was_passed_is_not_handed_on(cluster: Cluster, driver: Any) -> None:
    async with database(cluster, driver) as db, db.session() as session:
        await session.scalars(select(User))
        assert Bookmark.decode(await session.bookmark()).shown
        await session.commit()
        await session.scalars(_EMAILS)
        assert not Bookmark.decode(await session.bookmark()).shown


async def test_an_account_that_may_not_see_what_runs_is_told_what_to_grant(
    cluster: Cluster, driver: Any
) -> None:
    async with database(cluster, driver) as db, db.session() as session:
        await session.scalars(select(User))
        token = await session.bookmark()
    primary = cluster.primary
    # Who could take on the role, and has not, may not see either.
    primary.sql("CREATE ROLE nobody_special LOGIN NOINHERIT IN ROLE pg_read_all_stats")
    primary.sql("GRANT SELECT ON users TO nobody_special")
    primary.sql("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO nobody_special")
    try:
        async with Database(primary.url(driver, user="nobody_special")) as db:
            async with db.session(token) as session:
                with pytest.raises(ConfigurationError, match="GRANT pg_read_all_stats TO nobody"):
                    await session.scalars(_EMAILS)
    finally:
        primary.sql("DROP OWNED BY nobody_special; DROP ROLE nobody_special")
