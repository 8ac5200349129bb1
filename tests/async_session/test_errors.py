"""What is left of a session after an error, as SQLAlchemy documents it for `AsyncSession`."""

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession

from models import Post, User


async def emails(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(User.email).order_by(User.id)))


async def test_failed_flush_asks_for_a_rollback(session: AsyncSession) -> None:
    session.add(User(email="ada"))
    with pytest.raises(IntegrityError):
        await session.flush()
    with pytest.raises(PendingRollbackError):
        await emails(session)
    await session.rollback()
    assert await emails(session) == ["ada", "ben"]


async def test_failed_commit_writes_nothing(session: AsyncSession) -> None:
    session.add_all([User(email="new"), User(email="ada")])
    with pytest.raises(IntegrityError):
        await session.commit()
    await session.rollback()
    assert await emails(session) == ["ada", "ben"]


async def test_failed_statement_leaves_the_transaction_usable(session: AsyncSession) -> None:
    session.add(User(email="new"))
    await session.flush()
    with pytest.raises(IntegrityError):
        await session.execute(insert(User).values(email="ada"))
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_foreign_keys_are_enforced(session: AsyncSession) -> None:
    session.add(Post(user_id=99, title="", body=""))
    with pytest.raises(IntegrityError):
        await session.commit()
