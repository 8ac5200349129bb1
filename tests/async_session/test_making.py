"""How sessions are made, configured and looked into, as SQLAlchemy documents it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_object_session,
    async_scoped_session,
    async_session,
    close_all_sessions,
)
from sqlalchemy.ext.asyncio.exc import AsyncMethodRequired
from sqlalchemy.orm import Session

from models import User


async def emails(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(User.email).order_by(User.id)))


async def write_and_fail(session: AsyncSession) -> None:
    session.add(User(email="new"))
    await session.flush()
    raise LookupError


# async_sessionmaker ------------------------------------------------------------------------


async def test_maker_makes_sessions_of_its_class(sessions: Any) -> None:
    async with sessions.maker()() as session:
        assert isinstance(session, sessions.options["class_"])
        assert await emails(session) == ["ada", "ben"]


async def test_options_of_the_call_come_before_those_of_the_maker(sessions: Any) -> None:
    maker = sessions.maker(expire_on_commit=False, autoflush=False)
    async with maker(autoflush=True) as session:
        assert session.sync_session.expire_on_commit is False
        assert session.autoflush is True


async def test_maker_is_configured_later(sessions: Any) -> None:
    maker = sessions.maker()
    maker.configure(expire_on_commit=False)
    async with maker() as session:
        assert session.sync_session.expire_on_commit is False


async def test_maker_begins_a_transaction_that_commits(sessions: Any) -> None:
    maker = sessions.maker()
    async with maker.begin() as session:
        session.add(User(email="new"))
    async with await sessions.after(session) as reader:
        assert await emails(reader) == ["ada", "ben", "new"]


async def test_maker_begins_a_transaction_that_rolls_back_on_an_error(sessions: Any) -> None:
    maker = sessions.maker()
    with pytest.raises(LookupError):
        async with maker.begin() as session:
            await write_and_fail(session)
    async with maker() as session:
        assert await emails(session) == ["ada", "ben"]


# async_scoped_session ----------------------------------------------------------------------


async def test_scoped_session_is_one_for_each_task(sessions: Any) -> None:
    scoped = async_scoped_session(sessions.maker(), scopefunc=asyncio.current_task)

    async def own() -> Any:
        session = scoped()
        assert scoped() is session
        await scoped.remove()
        return session

    first, second = await asyncio.gather(own(), own())
    assert first is not second


async def test_scoped_session_stands_for_the_session(sessions: Any) -> None:
    scoped = async_scoped_session(sessions.maker(), scopefunc=asyncio.current_task)
    scoped.add(User(email="new"))
    await scoped.commit()
    assert list(await scoped.scalars(select(User.email))) == ["ada", "ben", "new"]
    async with scoped.begin_nested():
        await scoped.delete(await scoped.get_one(User, 1))
    await scoped.rollback()
    assert scoped.registry.has()
    await scoped.remove()
    assert not scoped.registry.has()


# What a session carries --------------------------------------------------------------------


async def test_info_is_the_sessions_own(sessions: Any) -> None:
    async with sessions(info={"a": 1}) as session:
        session.info["b"] = 2
        assert session.info == session.sync_session.info == {"a": 1, "b": 2}


async def test_identity_map_holds_one_object_for_each_row(session: AsyncSession) -> None:
    user = (await session.scalars(select(User).where(User.id == 1))).one()
    assert (await session.scalars(select(User).where(User.email == "ada"))).one() is user
    assert session.identity_map[session.identity_key(User, 1)] is user
    assert session.identity_key(instance=user) == inspect(user).key


async def test_identity_map_is_weak(session: AsyncSession) -> None:
    await session.get_one(User, 1)
    assert len(session.identity_map) == 0


async def test_execution_options_of_the_session_are_the_default(sessions: Any) -> None:
    async with sessions(execution_options={"populate_existing": True}) as session:
        user = await session.get_one(User, 1)
        await session.execute(text("UPDATE users SET email = 'countess' WHERE id = 1"))
        await session.scalars(select(User))
        assert user.email == "countess"


async def test_execution_options_of_the_session_reach_the_connection(sessions: Any) -> None:
    async with sessions(execution_options={"tag": 1}) as session:
        connection = await session.connection()
        assert connection.sync_connection.get_execution_options()["tag"] == 1


async def test_isolation_level_may_be_an_option_of_the_session(sessions: Any) -> None:
    async with sessions(execution_options={"isolation_level": "SERIALIZABLE"}) as session:
        assert await emails(session) == ["ada", "ben"]


async def test_execute_refuses_a_cursor_on_the_server(session: AsyncSession) -> None:
    with pytest.raises(AsyncMethodRequired, match=r"stream\(\) method"):
        await session.execute(select(User), execution_options={"yield_per": 1})


# What a session is bound to ----------------------------------------------------------------


async def test_bind_is_what_statements_without_a_mapper_run_on(session: AsyncSession) -> None:
    assert session.get_async_bind() is session.bind
    assert session.get_bind() is session.sync_session.bind
    assert (await session.connection()).sync_engine is session.sync_session.bind


async def test_get_bind_takes_mappers_and_clauses(session: AsyncSession) -> None:
    assert session.get_bind(User) is session.sync_session.bind
    assert session.get_bind(clause=select(User)) is session.sync_session.bind


async def test_get_bind_gives_back_the_bind_it_is_given(session: AsyncSession) -> None:
    connection = await session.connection()
    assert session.get_async_bind(bind=connection) is connection


async def test_statement_runs_on_the_bind_it_names(session: AsyncSession) -> None:
    bind = session.sync_session.bind
    users = await session.scalars(select(User.email), bind_arguments={"bind": bind})
    assert set(users) == {"ada", "ben"}


async def test_connection_is_that_of_the_transaction(session: AsyncSession) -> None:
    session.add(User(email="new"))
    await session.flush()
    connection = await session.connection()
    assert isinstance(connection, AsyncConnection)
    assert await connection.scalar(text("SELECT count(*) FROM users")) == 3
    assert await session.connection() is connection


async def test_connection_writes_as_part_of_the_transaction(session: AsyncSession) -> None:
    connection = await session.connection()
    await connection.execute(text("DELETE FROM users WHERE id = 1"))
    await session.commit()
    assert await emails(session) == ["ben"]


async def test_connection_takes_execution_options(session: AsyncSession) -> None:
    options: Any = {"isolation_level": "SERIALIZABLE"}
    connection = await session.connection(execution_options=options)
    assert await connection.get_isolation_level() == "SERIALIZABLE"
    session.add(User(email="new"))
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_transaction_knows_its_connections(session: AsyncSession) -> None:
    connection = await session.connection()
    transaction = session.get_transaction()
    assert transaction is not None
    assert connection in transaction.connections


async def test_transaction_that_only_read_knows_its_connections(session: AsyncSession) -> None:
    await emails(session)
    transaction = session.get_transaction()
    assert transaction is not None
    (connection,) = transaction.connections
    assert set(await connection.scalars(select(User.email))) == {"ada", "ben"}


# Finding the session of an object ----------------------------------------------------------


async def test_object_knows_its_session(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    assert async_object_session(user) is session
    assert AsyncSession.object_session(user) is session.sync_session


async def test_sync_session_knows_its_session(session: AsyncSession) -> None:
    assert async_session(session.sync_session) is session


async def test_object_of_one_session_is_refused_by_another(sessions: Any) -> None:
    async with sessions() as first, sessions() as second:
        user = await first.get_one(User, 1)
        with pytest.raises(InvalidRequestError, match="already attached to session"):
            second.add(user)


async def test_close_all_sessions_closes_every_one(sessions: Any) -> None:
    first, second = sessions(), sessions()
    await emails(first)
    second.add(User(email="lost"))
    await close_all_sessions()
    assert not first.in_transaction()
    assert not second.in_transaction()


async def test_sync_session_class_is_ones_own(sessions: Any) -> None:
    base: type[Session] = sessions.options["class_"].sync_session_class

    class Own(base):  # type: ignore[valid-type, misc]
        pass

    async with sessions(sync_session_class=Own) as session:
        assert isinstance(session.sync_session, Own)
        assert await emails(session) == ["ada", "ben"]
