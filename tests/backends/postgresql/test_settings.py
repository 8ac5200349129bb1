"""What users set for a server, a session or a transaction survives the routing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Integer, column, func, select, table, text

from models import Base, User
from orm import Database
from orm.testing import caught_up
from orm.testing.postgresql import Cluster
from tests.conftest import over

_ROLE = "tenant"
_NOTES = table("notes", column("tenant", Integer), column("body"))
_RLS = f"""
CREATE ROLE {_ROLE} LOGIN IN ROLE pg_read_all_stats;
CREATE TABLE notes (tenant integer, body text);
INSERT INTO notes VALUES (1, 'mine'), (2, 'not mine');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes
    USING (tenant = nullif(current_setting('app.tenant', true), '')::integer);
GRANT USAGE ON SCHEMA public TO {_ROLE};
GRANT SELECT, INSERT ON notes TO {_ROLE};
"""
_CLEAN = "DROP SCHEMA IF EXISTS public, other CASCADE; CREATE SCHEMA public"

Make = Any


@pytest.fixture(params=["asyncpg", "psycopg"])
async def make(request: pytest.FixtureRequest, shared_cluster: Cluster) -> AsyncIterator[Make]:
    """Makes a `Database` of the cluster's, on which the models' tables are."""
    cluster, driver = shared_cluster, request.param

    def database(user: str = "postgres", **options: Any) -> Database:
        urls = [server.url(driver, user=user) for server in cluster.servers]
        return over(urls[0], urls[1:], **options)

    database.driver = driver  # type: ignore[attr-defined]
    async with Database(cluster.primary.url(driver)) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    cluster.caught_up()
    yield database
    cluster.primary.sql(f"SET lock_timeout = '30s'; {_CLEAN}")


def served_by(session: Any) -> str:
    assert session.last_route is not None
    return str(session.last_route.role)


async def test_set_local_holds_for_its_transaction(make: Make) -> None:
    async with make() as db, db.session() as session:
        default = await session.scalar(text("SHOW statement_timeout"))
        await session.rollback()
        await session.execute(text("SET LOCAL statement_timeout = '1234ms'"))
        await session.scalars(select(User))  # an ORM read of the same transaction
        assert await session.scalar(text("SHOW statement_timeout")) == "1234ms"
        assert served_by(session) == "primary"
        await session.commit()
        assert await session.scalar(text("SHOW statement_timeout")) == default


async def test_row_level_security_on_the_primary_and_on_replicas(
    make: Make, shared_cluster: Cluster
) -> None:
    shared_cluster.primary.sql(_RLS)
    shared_cluster.caught_up()
    tenant = select(func.set_config("app.tenant", "1", True))
    notes = select(_NOTES.c.body)
    try:
        async with make(user=_ROLE, max_wait=30) as db, db.session() as session:
            await session.execute(tenant)  # a function: on the primary
            assert (await session.scalars(notes)).all() == ["mine"]
            assert served_by(session) == "primary"
            await session.commit()
            assert (await session.scalars(notes)).all() == []  # it was of that transaction
            assert served_by(session) == "replica"
            await session.commit()
            async with session.begin(read_only=True):  # a transaction on a replica
                await session.execute(tenant)
                assert (await session.scalars(notes)).all() == ["mine"]
                assert served_by(session) == "replica"
            assert (await session.scalars(notes)).all() == []
    finally:
        shared_cluster.primary.sql(f"DROP OWNED BY {_ROLE}; DROP TABLE notes; DROP ROLE {_ROLE}")


async def test_search_path_of_the_connections(make: Make, shared_cluster: Cluster) -> None:
    shared_cluster.primary.sql(
        "CREATE SCHEMA other; CREATE TABLE other.users (LIKE users INCLUDING ALL);"
        "INSERT INTO other.users (email) VALUES ('of the other schema')"
    )
    shared_cluster.caught_up()
    connect = (
        {"server_settings": {"search_path": "other"}}
        if make.driver == "asyncpg"
        else {"options": "-c search_path=other"}
    )
    async with make(engine_options={"connect_args": connect}) as db:
        async with db.session() as session:
            assert await session.scalar(select(User.email)) == "of the other schema"
            assert served_by(session) == "replica"
        async with db.session("first-primary") as session:
            assert await session.scalar(select(User.email)) == "of the other schema"
        async with db.begin() as session:
            session.add(User(email="b"))
    assert shared_cluster.primary.sql("SELECT count(*) FROM other.users") == ["2"]


async def test_isolation_level_of_a_session_is_a_transaction_on_the_primary(make: Make) -> None:
    level = text("SHOW transaction_isolation")
    async with make() as db:
        async with db.session() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            assert await session.scalar(level) == "serializable"
            await session.scalars(select(User))
            assert served_by(session) == "primary"
            await session.commit()
        async with db.session() as session:  # the connection is as before
            assert await session.scalar(level) == "read committed"


async def test_isolation_level_of_the_engines_is_that_of_writing_transactions(make: Make) -> None:
    async with make(engine_options={"isolation_level": "REPEATABLE READ"}) as db:
        async with db.session() as session:
            assert await session.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        async with db.session() as session:
            await session.scalars(select(User))
            assert served_by(session) == "replica"


async def test_what_is_prepared_goes_on_when_the_table_gets_a_column(
    make: Make, shared_cluster: Cluster
) -> None:
    options = {"pool_size": 1, "max_overflow": 0}
    async with make(engine_options=options) as db, db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        await caught_up(db)
        for _ in range(10):  # until the driver has prepared it
            assert (await session.scalars(select(User.email))).all() == ["a"]
            await session.commit()
        shared_cluster.primary.sql("ALTER TABLE users ADD COLUMN nickname text")
        await caught_up(db)
        for _ in range(3):
            assert (await session.scalars(select(User.email))).all() == ["a"]
            assert served_by(session) == "replica"
            await session.commit()
