"""All that needs the primary, for tests in which it is away."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from models import User
from orm import Database
from orm.exceptions import NoPrimary

__all__ = ["needs_the_primary"]


async def needs_the_primary(db: Database, match: str) -> None:
    """Do each thing that needs the primary; it raises `NoPrimary`, and says why.

    The connections that the pool had when the primary went away are gone after one such error.
    """
    with pytest.raises((DBAPIError, NoPrimary)):
        async with db.begin() as session:
            await session.execute(insert(User).values(email="lost"))

    async def flushes() -> None:
        async with db.session() as session:
            session.add(User(email="flushed"))
            await session.flush()

    async def writes_after_a_read() -> None:
        async with db.session() as session:
            await session.scalars(select(User.email))
            await session.execute(insert(User).values(email="inserted"))

    async def commits() -> None:
        async with db.begin() as session:
            session.add(User(email="committed"))

    async def inserts_in_bulk() -> None:
        async with db.session() as session:
            await session.run_sync(lambda it: it.bulk_insert_mappings(User, [{"email": "bulk"}]))

    async def takes_the_connection() -> None:
        async with db.session() as session:
            await session.connection()

    async def sends_text() -> None:
        async with db.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def reads_there() -> None:
        async with db.session("first-primary") as session:
            await session.scalars(select(User.email))

    async def is_tried_again() -> None:
        async def work(session: object) -> None:
            raise AssertionError("it has no connection")

        await db.run(work, retry_for=0.1)

    async def starts() -> None:
        primary = db.cluster.primary
        await Database(primary.url).start()

    needs: list[Callable[[], Awaitable[None]]] = [
        flushes, writes_after_a_read, commits, inserts_in_bulk, takes_the_connection, sends_text,
        reads_there, is_tried_again, starts,
    ]  # fmt: skip
    for need in needs:
        with pytest.raises(NoPrimary, match=match) as raised:
            await need()
        assert raised.value.retryable
        assert raised.value.__cause__ is not None
