"""Work that is cancelled leaves nothing behind on the connection that others use next."""

import gc
from typing import Any

import pytest
from sqlalchemy import func, literal, select, text
from sqlalchemy.exc import DBAPIError

from models import Base, User
from orm import Database
from orm.testing.postgresql import Cluster
from tests.harness.cancel import CutOff, cancelled_at


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_transactions_stay_whole_after_one_was_cancelled_at_any_await(
    postgresql_cluster: Cluster, driver: Any
) -> None:
    url = postgresql_cluster.primary.url(driver)
    async with Database(url, engine_options={"pool_size": 1, "max_overflow": 0}) as db:
        async with db.connect() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.commit()

        async def write(email: str) -> None:
            async with db.begin() as session:
                session.add(User(email=email))

        async def roll_back(email: str) -> None:
            async with db.session() as session:
                session.add(User(email=email))
                await session.flush()
                await session.rollback()

        cut_off = False
        number = 0
        while cut_off or number == 0:
            number += 1
            cut_off = False
            try:
                await cancelled_at(write(f"written {number}"), number)
            except CutOff:
                cut_off = True
            await roll_back(f"rolled back {number}")
        assert number > 3
        async with db.session("first-primary") as session:
            emails = (await session.scalars(select(User.email))).all()
        assert f"written {number}" in emails
        assert not [email for email in emails if email.startswith("rolled back")]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_read_only_unit_that_was_cancelled_at_any_await_gives_its_connection_back(
    postgresql_cluster: Cluster, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # psycopg then yields in what needs no waiting, too, as it does where the loop is busy.
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0.0)
    url = postgresql_cluster.primary.url(driver)
    async with Database(url, engine_options={"pool_size": 1, "max_overflow": 0}) as db:

        async def read() -> None:
            async with db.session() as session, session.begin(read_only=True):
                await session.execute(select(literal(1)))

        pool: Any = db.cluster.primary.engine.pool
        kept: list[CutOff] = []  # else what is lost would be found as garbage
        number = 0
        while len(kept) == number:
            number += 1
            try:
                await cancelled_at(read(), number)
            except CutOff as error:
                kept.append(error)
            assert pool.checkedout() == 0
        assert number > 3


@pytest.mark.parametrize("driver", ["asyncpg"])  # psycopg's errors are SQLAlchemy's own
async def test_a_stream_is_begun_again_if_its_connection_had_ended(
    postgresql_cluster: Cluster, driver: Any
) -> None:
    primary = postgresql_cluster.primary
    async with Database(primary.url(driver)) as db:
        async with db.session() as session:
            await session.execute(select(literal(1)))
        primary.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with db.session() as session:
            result = await session.stream(select(literal(1)))
            assert await result.scalar_one() == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("fetch", ["fetchone", "fetchmany", "all"])
async def test_a_stream_whose_connection_ends_fails_as_any_query_does(
    postgresql_cluster: Cluster, driver: Any, fetch: str
) -> None:
    primary = postgresql_cluster.primary
    rows = select(func.generate_series(1, 1_000_000)).execution_options(route="read")
    async with Database(primary.url(driver)) as db:
        for started in (False, True):
            async with db.session() as session:
                stream = await session.stream(rows)
                if started:
                    assert (await stream.fetchmany(2)) == [(1,), (2,)]
                primary.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                with pytest.raises(DBAPIError) as caught:
                    while True:
                        await getattr(stream, fetch)()
                assert caught.value.connection_invalidated
            async with db.session() as session:
                assert await session.scalar(select(literal(1))) == 1


async def test_a_position_is_not_told_by_a_server_that_ends_the_connection(
    postgresql_cluster: Cluster,
) -> None:
    """It has said so to asyncpg, and not closed the connection yet."""
    url = postgresql_cluster.primary.url("asyncpg")
    async with Database(url) as db, db.cluster.writer.connect() as other:
        async with db.cluster.writer.connect() as connection:
            # Before the process ends, it drops its table.
            await connection.execute(text("CREATE TEMPORARY TABLE held (n int)"))
            found = await connection.execute(
                text("SELECT pg_backend_pid(), pg_my_temp_schema()::regnamespace::text")
            )
            pid, schema = found.one()
            await connection.commit()
            await other.execute(text(f"LOCK TABLE {schema}.held IN ACCESS SHARE MODE"))
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            waits = text("SELECT pid FROM pg_locks WHERE pid = :pid AND NOT granted")
            while await other.scalar(waits, {"pid": pid}) is None:
                pass
            with pytest.raises(DBAPIError):
                await connection.run_sync(lambda c: db.cluster.backend.committed(c, wrote=True))
            await connection.invalidate()
        await other.rollback()


@pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning")
async def test_a_stream_that_no_task_holds_any_more_is_no_error(
    postgresql_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be sent any more when its connection is found as garbage."""
    gc.collect()
    caplog.clear()  # of what other tests have left
    async with Database(postgresql_cluster.primary.url("asyncpg")) as db:
        connection = await db.cluster.primary.engine.connect()
        result = await connection.stream(select(func.generate_series(1, 1000)))
        await result.fetchone()
        del connection, result
        gc.collect()
        async with db.session() as session:
            assert await session.scalar(select(literal(1))) == 1
    assert not [record for record in caplog.records if record.exc_info]
