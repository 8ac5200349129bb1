"""What a session says of its engine decides nothing; what it sends does."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from models import User
from orm import Database, Reason, Route
from orm.exceptions import ReadOnlyError


def dialect(session: Session) -> str:
    return session.get_bind().dialect.name


async def test_asking_for_the_engine_decides_nothing(db: Database) -> None:
    told: list[Route] = []
    db.observe(told.append)
    async with db.session() as session:
        assert await session.run_sync(dialect) == db.cluster.writer.dialect.name
        assert told == []
        assert session.last_route is None
        await session.scalars(select(User.email))
        assert await session.run_sync(dialect) == db.cluster.writer.dialect.name
        await session.scalars(select(User.id))
    assert [route.role for route in told] == ["replica"]


async def test_what_is_asked_for_in_a_read_only_transaction_cannot_write(db: Database) -> None:
    def bind(session: Session) -> Engine | Connection:
        return session.get_bind()

    async with db.session() as session, session.begin(read_only=True):
        engine = await session.run_sync(bind)
        assert engine is not db.cluster.writer.sync_engine
        await session.scalars(select(User.email))
        connection = await session.run_sync(bind)
        assert isinstance(connection, Connection)
        assert not connection.closed


USERS = [{"email": "a"}, {"email": "b"}]


def in_bulk(session: Session) -> None:
    session.bulk_insert_mappings(User.__mapper__, USERS)


def objects(session: Session) -> None:
    session.bulk_save_objects([User(**user) for user in USERS])


def updates(session: Session) -> None:
    ids = session.scalars(select(User.id)).all()
    session.bulk_update_mappings(User.__mapper__, [{"id": i, "email": f"{i}"} for i in ids])


def flushed(session: Session) -> None:
    session.add_all(User(**user) for user in USERS)
    session.flush()


def connected(session: Session) -> None:
    session.connection().execute(text("INSERT INTO users (email) VALUES ('a')"))


@pytest.mark.parametrize("write", [in_bulk, objects, flushed, connected])
async def test_all_that_sends_is_routed(db: Database, write: Callable[[Session], Any]) -> None:
    told: list[Route] = []
    db.observe(told.append)
    async with db.session() as session:
        await session.run_sync(write)
        await session.commit()
        token = await session.bookmark()
    assert [route.reason for route in told] == [Reason.MAY_WRITE]
    async with db.session(token) as session:
        assert await session.scalar(select(User.email).limit(1))


async def test_updates_in_bulk_are_routed(db: Database) -> None:
    async with db.begin() as session:
        session.add(User(email="a"))
    async with db.session("first-primary") as session:
        await session.run_sync(updates)
        await session.commit()
        assert await session.scalar(select(User.email)) == str(
            await session.scalar(select(User.id))
        )


@pytest.mark.parametrize("write", [in_bulk, objects, updates, flushed])
async def test_writes_are_refused_in_a_read_only_transaction(
    db: Database, write: Callable[[Session], Any]
) -> None:
    async with db.session() as session:
        with pytest.raises(ReadOnlyError):
            async with session.begin(read_only=True):
                await session.run_sync(write)


async def test_a_statement_that_asks_for_the_primary_says_so(db: Database) -> None:
    asked = select(User.email).execution_options(route="primary")
    async with db.session() as session:
        await session.scalars(asked)
        assert session.last_route is not None
        assert session.last_route.reason is Reason.ASKED
        assert session.last_route.role == "primary"
        await session.rollback()
        await session.scalars(text("SELECT 1"))
        assert session.last_route.reason is Reason.MAY_WRITE
