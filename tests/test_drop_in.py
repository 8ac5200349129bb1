"""Code that was written for SQLAlchemy's own sessions finds here what it expects."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import StaticPool, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState

from models import Post, User
from orm import BookmarkSession, Database, InvalidBookmark, Reason
from orm.exceptions import ConfigurationError
from orm.routing.session import RoutedSession
from orm.testing import caught_up, paused
from tests.conftest import Servers

EMAILS = select(User.email).order_by(User.id)


def role(session: BookmarkSession) -> str:
    assert session.last_route is not None
    return session.last_route.role


async def add(db: Database, email: str) -> str:
    async with db.begin() as session:
        session.add(User(email=email))
    return await session.bookmark()


# Listeners of do_orm_execute -----------------------------------------------------------------


class Listened(RoutedSession):
    """A session of an application that has listeners."""


class ListenedSession(BookmarkSession):
    sync_session_class = Listened


@pytest.fixture
def listen() -> Any:
    """Registers a listener of `do_orm_execute` for one test."""
    listeners = []

    def add(function: Any) -> None:
        event.listen(Listened, "do_orm_execute", function)
        listeners.append(function)

    yield add
    for function in listeners:
        event.remove(Listened, "do_orm_execute", function)


def updates(state: ORMExecuteState) -> None:
    state.update_execution_options(route="primary")


def invokes(state: ORMExecuteState) -> Any:
    return state.invoke_statement(execution_options={"route": "primary"})


def invokes_another(state: ORMExecuteState) -> Any:
    return state.invoke_statement(state.statement.execution_options(route="primary"))


def replaces(state: ORMExecuteState) -> None:
    state.statement = state.statement.execution_options(route="primary")


def locks(state: ORMExecuteState) -> None:
    state.statement = state.statement.with_for_update()  # type: ignore[attr-defined]


@pytest.mark.parametrize("listener", [updates, invokes, invokes_another, replaces, locks])
@pytest.mark.parametrize("statement", [select(User), select(User.__table__)])
@pytest.mark.parametrize("method", ["execute", "scalars", "scalar"])
async def test_a_listener_decides_the_route(
    db: Database, listen: Any, listener: Any, statement: Any, method: str
) -> None:
    async with db.sessionmaker(class_=ListenedSession)() as session:
        await getattr(session, method)(statement)
        assert role(session) == "replica"
    listen(listener)
    async with db.sessionmaker(class_=ListenedSession)() as session:
        await getattr(session, method)(statement)
        assert session.last_route is not None
        assert session.last_route.reason is (
            Reason.MAY_WRITE if listener is locks else Reason.ASKED
        )


async def test_a_listener_can_say_that_text_is_a_read(db: Database, listen: Any) -> None:
    listen(lambda state: state.update_execution_options(route="read"))
    async with db.sessionmaker(class_=ListenedSession)() as session:
        await session.execute(text("SELECT 1"))
        assert role(session) == "replica"


async def test_a_listener_that_says_nothing_changes_nothing(db: Database, listen: Any) -> None:
    listen(lambda state: None)
    async with db.sessionmaker(class_=ListenedSession)() as session:
        await session.execute(select(User))
        assert role(session) == "replica"
        await session.execute(select(User), execution_options={"route": "primary"})
        assert role(session) == "primary"


# Errors, and what they say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.flush(),
        lambda session: session.commit(),
        lambda session: session.connection(),
        lambda session: session.scalars(EMAILS),  # flushes first
        lambda session: session.execute(text("SELECT 1")),
    ],
    ids=["flush", "commit", "connection", "autoflush", "text"],
)
async def test_a_full_pool_says_what_holds_it(servers: Servers, use: Any) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    async with servers.migrated(engine_options=options) as db:
        async with db.begin() as first:
            await first.connection()
            async with db.session() as second:
                second.add(User(email="ada"))
                with pytest.raises(PoolTimeout) as caught:
                    await use(second)
    (note,) = caught.value.__notes__
    assert "keeps the primary's until its transaction ends" in note


async def test_a_replica_that_lacks_a_column_is_said_to_be_behind(db: Database) -> None:
    async with paused(db):
        async with db.connect() as connection:
            await connection.execute(text("ALTER TABLE users ADD COLUMN nickname INTEGER"))
            await connection.execute(text("CREATE TABLE later (id INTEGER)"))
            await connection.commit()
        for sql in ("SELECT nickname FROM users", "SELECT id FROM later"):
            async with db.session() as stranger:
                with pytest.raises(DBAPIError) as caught:
                    await stranger.execute(text(sql).execution_options(route="read"))
            (note,) = caught.value.__notes__
            assert note.startswith("replica-")
            assert "behind the primary, so it may lack what the latest migration" in note
            migrates = db.cluster.backend.migrations is not None
            assert ("orm migrations apply --remote --wait" in note) is migrates
        async with db.session(await connection.bookmark()) as follower:
            statement = text("SELECT nickname FROM users").execution_options(route="read")
            assert (await follower.execute(statement)).all() == []


@pytest.mark.embedded
async def test_a_foreign_key_that_fails_says_why_sqlite_minds(db: Database) -> None:
    async with db.session() as session:
        session.add(Post(user_id=12345, title="t", body="b"))
        with pytest.raises(IntegrityError) as caught:
            await session.commit()
    (note,) = caught.value.__notes__
    assert "enforced here" in note and "defer_foreign_keys" in note


@pytest.mark.parametrize("poolclass", [StaticPool, type("Mine", (StaticPool,), {})])
async def test_one_connection_for_all_sessions_is_refused(servers: Servers, poolclass: Any) -> None:
    with pytest.raises(ConfigurationError, match="StaticPool"):
        servers.database(engine_options={"poolclass": poolclass})


# Session classes, factories, engines -----------------------------------------------------------


class Other(AsyncSession):
    """A session of another library."""

    async def emails(self) -> list[str]:
        return list(await self.scalars(EMAILS))


async def test_a_factory_makes_sessions_of_another_class(db: Database) -> None:
    async with paused(db):
        token = await add(db, "ada")
        make = db.sessionmaker(class_=Other, expire_on_commit=False)
        async with make(constraint=token) as session:
            assert await session.emails() == ["ada"]
            assert isinstance(session, BookmarkSession)
        async with make() as stranger:
            assert await stranger.emails() == []


async def test_a_factory_for_a_library_reads_the_primary_first(db: Database) -> None:
    async with paused(db):
        make = db.sessionmaker(constraint="first-primary")
        async with make() as session:
            session.add(User(email="ada"))
            await session.commit()
        async with make() as other:
            assert (await other.scalars(EMAILS)).all() == ["ada"]


async def test_a_live_session_takes_in_a_later_bookmark(db: Database) -> None:
    async with paused(db), db.session() as session:
        assert (await session.scalars(EMAILS)).all() == []
        token = await add(db, "ada")
        with pytest.raises(InvalidRequestError, match="end it, then see"):
            session.see(token)
        await session.commit()
        assert (await session.scalars(EMAILS)).all() == []  # still the past
        await session.commit()
        session.see(token)
        assert (await session.scalars(EMAILS)).all() == ["ada"]
        await session.commit()
        with pytest.raises(InvalidBookmark):
            session.see("garbage")


async def test_a_live_session_sees_one_of_several_and_never_less(db: Database) -> None:
    async with paused(db), db.session() as session:
        old = await add(db, "ada")
        new = await add(db, "bob")
        session.see([new, old])
        session.see(old)
        assert (await session.scalars(EMAILS)).all() == ["ada", "bob"]
        await session.commit()
        session.see("first-primary")
        await session.scalars(EMAILS)
        assert session.last_route and session.last_route.reason is Reason.FIRST_PRIMARY


async def test_a_forged_bookmark_takes_nothing_from_a_live_session(db: Database) -> None:
    async with paused(db), db.session() as session:
        session.add(User(email="ada"))
        await session.commit()
        own = session.located
        [(domain, at)] = own.position
        session.see(replace(own, position=((domain, at + 10**12),)))
        assert (await session.scalars(EMAILS)).all() == ["ada"]
        assert session.last_route and session.last_route.reason is Reason.STRAY_BOOKMARK
        assert session.located.covers(own)


def test_listeners_of_engines_stay(servers: Servers) -> None:
    db = servers.database(max_wait=60)
    seen: list[str] = []
    for engine in db.engines:
        event.listen(
            engine.sync_engine, "before_cursor_execute", lambda *given: seen.append(given[2])
        )

    async def live() -> None:
        async with db:
            await caught_up(db)
            async with db.session() as session:
                await session.execute(text("SELECT 41").execution_options(route="read"))
                assert role(session) == "replica"
                await session.execute(text("SELECT 42"))
                assert role(session) == "primary"
            async with db.engine.connect() as connection:
                await connection.execute(text("SELECT 43"))

    for life in (1, 2):
        asyncio.run(live())
        assert [seen.count(f"SELECT {number}") for number in (41, 42, 43)] == [life] * 3


# AUTOCOMMIT --------------------------------------------------------------------------------


async def test_a_session_in_autocommit_reads_and_refuses_to_write(db: Database) -> None:
    await add(db, "ada")
    await caught_up(db)
    options = {"isolation_level": "AUTOCOMMIT", "logging_token": "reads"}
    async with db.session(execution_options=options) as session:
        assert (await session.scalars(EMAILS)).all() == ["ada"]
        assert role(session) == "replica"
    writes: list[Any] = [
        lambda session: session.execute(insert(User).values(email="bob")),
        lambda session: session.execute(text("DELETE FROM users")),
        lambda session: session.connection(),
        lambda session: session.flush(),
    ]
    for write in writes:
        async with db.session(execution_options=options) as session:
            session.add(User(email="bob"))
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                await write(session)
    async with db.session("first-primary") as session:
        assert (await session.scalars(EMAILS)).all() == ["ada"]


async def test_an_engine_tells_what_is_not_there(db: Database) -> None:
    backend = db.cluster.backend
    async with db.engine.connect() as connection:
        for sql in ("SELECT absent FROM users", "SELECT 1 FROM absent"):
            with pytest.raises(DBAPIError) as caught:
                await connection.execute(text(sql))
            assert backend.is_missing(caught.value)
            await connection.rollback()
