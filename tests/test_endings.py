"""However a transaction ends, the bookmark after it has what it wrote."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from models import User
from orm import BookmarkSession, Database
from orm.testing import caught_up, paused
from tests.conftest import MYSQL, MySQL, PostgreSQL, Servers, SQLite

Way = Callable[[Database], Awaitable[str]]

INSERT = "INSERT INTO users (email) VALUES ('late')"
LATE = select(func.count()).select_from(User).where(User.email == "late")


async def driver_of(session: BookmarkSession) -> Any:
    """The driver's own connection."""
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def tell(session: BookmarkSession, *statements: str) -> None:
    for statement in statements:
        await session.execute(text(statement))


# By SQLAlchemy --------------------------------------------------------------------------------


async def commit(db: Database) -> str:
    async with db.session() as session:
        session.add(User(email="late"))
        await session.commit()
        return await session.bookmark()


async def block(db: Database) -> str:
    async with db.begin() as session:
        await tell(session, INSERT)
    return await session.bookmark()


async def connection(db: Database) -> str:
    async with db.connect() as connection:
        await connection.exec_driver_sql(INSERT)
        await connection.commit()
        return await connection.bookmark()


async def two_phases(db: Database) -> str:
    async with db.session(twophase=True) as session:
        session.add(User(email="late"))
        await session.commit()
        return await session.bookmark()


async def two_phases_and_asynchronous(db: Database) -> str:
    async with db.session(twophase=True) as session:
        await tell(session, "SET LOCAL synchronous_commit = off")
        session.add(User(email="late"))
        await session.commit()
        return await session.bookmark()


async def prepared_by_another(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "PREPARE TRANSACTION 'late'")
        await session.commit()
    async with db.session() as session:
        connection = await session.connection()
        await connection.run_sync(lambda c: c.commit_prepared("late", recover=True))
        await session.commit()
        return await session.bookmark()


async def retry(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "INSERT INTO later VALUES (-1)")
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()
        await tell(session, INSERT)
        await session.commit()
        return await session.bookmark()


# In text --------------------------------------------------------------------------------------


async def text_and_commit(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "COMMIT")
        await session.commit()
        return await session.bookmark()


async def text_and_another_transaction(db: Database) -> str:
    async with db.session() as session:
        session.add(User(email="early"))
        await session.flush()
        await tell(session, "COMMIT", "BEGIN", INSERT)
        await session.commit()
        return await session.bookmark()


async def text_and_rollback(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "COMMIT")
        await session.rollback()
        return await session.bookmark()


async def text_and_close(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "COMMIT")
    return await session.bookmark()


async def text_alone(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "COMMIT")
        return await session.bookmark()


async def text_again_and_again(db: Database) -> str:
    async with db.session() as session:
        await tell(session, "INSERT INTO users (email) VALUES ('early')", "COMMIT")
        await session.bookmark()
        await tell(session, INSERT)
        await session.commit()
        return await session.bookmark()


async def text_and_chain(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "COMMIT AND CHAIN")
        await session.commit()
        return await session.bookmark()


# By the driver --------------------------------------------------------------------------------


async def drivers_commit(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT)
        await (await driver_of(session)).commit()
        return await session.bookmark()


async def drivers_commit_and_ours(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT)
        await (await driver_of(session)).commit()
        await session.commit()
        return await session.bookmark()


async def drivers_block(db: Database) -> str:
    async with db.session() as session:
        driver = await driver_of(session)
        async with driver.transaction():
            await driver.execute(INSERT)
        await session.commit()
        return await session.bookmark()


async def drivers_pipeline(db: Database) -> str:
    async with db.session() as session:
        await tell(session, "INSERT INTO users (email) VALUES ('early')")
        driver = await driver_of(session)
        async with driver.pipeline() as pipeline:
            await driver.execute(INSERT)
            await pipeline.sync()
            await session.commit()
        return await session.bookmark()


async def drivers_two_phases(db: Database) -> str:
    async with db.session() as session:
        driver = await driver_of(session)
        await driver.tpc_begin("late")
        await driver.execute(INSERT)
        await driver.tpc_prepare()
        await driver.tpc_commit()
        await session.commit()
        return await session.bookmark()


async def drivers_autocommit(db: Database) -> str:
    return await in_autocommit(db, INSERT)


async def procedure(db: Database) -> str:
    return await in_autocommit(db, "CALL write_and_commit()")


async def in_autocommit(db: Database, statement: str) -> str:
    async with db.session() as session:
        driver = await driver_of(session)
        if hasattr(driver, "set_autocommit"):
            await driver.set_autocommit(True)
        await driver.execute(statement)
        if hasattr(driver, "set_autocommit"):
            await driver.set_autocommit(False)
        await session.commit()
        return await session.bookmark()


async def procedure_in_text(db: Database) -> str:
    async with db.session() as session:
        await tell(session, "CALL write_and_commit()")
        await session.commit()
        return await session.bookmark()


async def script(db: Database) -> str:
    async with db.session() as session:
        await tell(session, "INSERT INTO users (email) VALUES ('early')")
        await (await driver_of(session)).executescript(INSERT)
        await session.commit()
        return await session.bookmark()


async def in_ddl(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "CREATE TABLE by_the_way (id int)")
        await session.commit()
        return await session.bookmark()


async def in_ddl_and_rollback(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "CREATE TABLE by_the_way (id int)")
        await session.rollback()
        return await session.bookmark()


async def in_a_setting(db: Database) -> str:
    async with db.session() as session:
        await tell(session, INSERT, "SET autocommit = 1", "SET autocommit = 0")
        await session.commit()
        return await session.bookmark()


EVERYWHERE: list[Way] = [
    commit,
    block,
    connection,
    text_and_commit,
    text_and_another_transaction,
    text_and_rollback,
    text_and_close,
    text_alone,
    text_again_and_again,
]
POSTGRESQL: list[Way] = [
    *EVERYWHERE,
    retry,
    two_phases,
    two_phases_and_asynchronous,
    prepared_by_another,
    text_and_chain,
    drivers_block,
    drivers_autocommit,
    procedure,
]
OF_MYSQL: list[Way] = [
    *EVERYWHERE,
    two_phases,
    text_and_chain,
    drivers_commit,
    drivers_commit_and_ours,
    procedure_in_text,
    in_ddl,
    in_ddl_and_rollback,
    in_a_setting,
]
WAYS: dict[str, list[Way]] = {
    **dict.fromkeys(MYSQL, OF_MYSQL),
    "SQLite": [*EVERYWHERE, retry, drivers_commit, drivers_commit_and_ours, script],
    "asyncpg": POSTGRESQL,
    "psycopg": [
        *POSTGRESQL,
        drivers_commit,
        drivers_commit_and_ours,
        drivers_pipeline,
        drivers_two_phases,
    ],
}


LATER = "CREATE TABLE later (id int REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
BODY = f"BEGIN {INSERT}; COMMIT; END"
PREPARATIONS: dict[type, tuple[str, ...]] = {
    SQLite: (LATER,),
    PostgreSQL: (
        LATER,
        f"CREATE PROCEDURE write_and_commit() LANGUAGE plpgsql AS $$ {BODY} $$",
    ),
    MySQL: (f"CREATE PROCEDURE write_and_commit() {BODY}",),
}


@pytest.mark.parametrize(
    ("servers", "way"),
    [(driver, way) for driver, ways in WAYS.items() for way in ways],
    indirect=["servers"],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_bookmark_has_what_was_committed(servers: Servers, way: Way) -> None:
    one = {"pool_size": 1, "max_overflow": 0}  # so that all is sent on the same connection
    async with servers.migrated(engine_options=one) as db:
        async with db.session() as session:
            await tell(session, *PREPARATIONS[type(servers)])
            await session.commit()
            earlier = await session.bookmark()
        async with db.cluster.writer.begin() as beside:  # its position is not asked
            await beside.execute(text("INSERT INTO users (email) VALUES ('beside')"))
        await caught_up(db)
        async with paused(db):
            token = await way(db)
            for bookmark, rows in ((earlier, 0), (token, 1)):
                async with db.session(bookmark) as session:
                    assert await session.scalar(LATE) == rows
                    assert session.last_route
                    assert (session.last_route.role == "primary") == bool(rows)
