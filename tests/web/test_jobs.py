"""The bookmark in a job's payload: a plain string through taskiq, a real job library.

Its in-memory broker serialises what it is given and runs the job in a task of its own, as a worker
would. The replicas stand still: a job without a bookmark does not find what it was told of.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from taskiq import InMemoryBroker, SimpleRetryMiddleware

from models import Post, User
from orm import Database
from orm.web import BookmarkMiddleware
from orm.web.fastapi import RequestSession


@pytest.fixture
async def broker() -> AsyncIterator[InMemoryBroker]:
    broker = InMemoryBroker(await_inplace=True, propagate_exceptions=False)
    broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=3))
    await broker.startup()
    yield broker
    await broker.shutdown()


async def test_a_job_sees_what_the_request_that_sent_it_wrote(
    still: Database, broker: InMemoryBroker, client
) -> None:
    found: list[str | None] = []

    @broker.task
    async def welcome(user_id: int, bookmark: str | None) -> None:
        async with still.session(bookmark) as session:
            user = await session.get(User, user_id)
            found.append(user and user.email)

    app = FastAPI()
    app.add_middleware(BookmarkMiddleware, database=still)

    @app.post("/users/{email}")
    async def create(email: str, session: RequestSession) -> None:
        user = User(email=email)
        session.add(user)
        await session.flush()
        user_id = user.id
        await session.commit()  # before the job is sent: it may start at once
        await welcome.kiq(user_id, await session.bookmark())
        await welcome.kiq(user_id, None)

    async with client(app) as http:
        await http.post("/users/ada")
    assert found == ["ada", None]


async def test_a_retry_decides_on_the_primary(still: Database, broker: InMemoryBroker) -> None:
    """The payload is of before the first attempt: what that one wrote, it does not stand for."""
    attempts: list[Any] = []

    @broker.task(retry_on_error=True)
    async def first_post(user_id: int, bookmark: str) -> None:
        async with still.begin(bookmark) as session:  # reads, decides and writes in one
            written = await session.scalar(select(func.count()).select_from(Post))
            attempts.append(written)
            if not written:
                session.add(Post(user_id=user_id, title="Hello", body="…"))
        if len(attempts) < 3:
            raise ConnectionError("to a mail server, say")

    async with still.begin() as session:
        session.add(User(id=1, email="ada"))
    await first_post.kiq(1, await session.bookmark())
    assert attempts == [0, 1, 1]
