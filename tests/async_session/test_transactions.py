"""Transactions and their end, as SQLAlchemy documents them for `AsyncSession`."""

from typing import Any

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from models import User


async def emails(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(User.email).order_by(User.id)))


async def write(session: AsyncSession, email: str = "new") -> None:
    session.add(User(email=email))
    await session.flush()


async def write_and_fail(session: AsyncSession) -> None:
    await write(session)
    raise LookupError


# Both kinds of begin -----------------------------------------------------------------------


async def test_begin_block_commits(session: AsyncSession) -> None:
    async with session.begin():
        session.add(User(email="new"))
    assert await emails(session) == ["ada", "ben", "new"]


async def test_begin_block_rolls_back_on_an_error(session: AsyncSession) -> None:
    with pytest.raises(LookupError):
        async with session.begin():
            await write_and_fail(session)
    assert await emails(session) == ["ada", "ben"]


async def test_awaited_begin_is_committed_by_hand(session: AsyncSession) -> None:
    transaction = await session.begin()
    await write(session)
    await transaction.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_awaited_begin_is_rolled_back_by_hand(session: AsyncSession) -> None:
    transaction = await session.begin()
    await write(session)
    await transaction.rollback()
    assert await emails(session) == ["ada", "ben"]


async def test_begin_block_may_read(session: AsyncSession) -> None:
    async with session.begin():
        assert await emails(session) == ["ada", "ben"]


async def test_begin_in_a_transaction_is_an_error(session: AsyncSession) -> None:
    await emails(session)
    with pytest.raises(InvalidRequestError, match="already begun"):
        await session.begin()


async def test_begin_block_ended_inside_takes_no_more_statements(session: AsyncSession) -> None:
    async with session.begin():
        await write(session)
        await session.commit()
        with pytest.raises(InvalidRequestError, match="inside context manager"):
            await emails(session)
    assert await emails(session) == ["ada", "ben", "new"]


async def test_without_autobegin_a_statement_needs_begin(sessions: Any) -> None:
    async with sessions(autobegin=False) as session:
        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            await emails(session)
        async with session.begin():
            assert await emails(session) == ["ada", "ben"]


async def test_transaction_knows_its_session(session: AsyncSession) -> None:
    assert session.get_transaction() is None
    async with session.begin() as transaction:
        assert transaction.session is session
        assert session.get_transaction() is transaction
        assert transaction.is_active
    assert not transaction.is_active


# Savepoints --------------------------------------------------------------------------------


async def test_released_savepoint_is_part_of_its_transaction(session: AsyncSession) -> None:
    async with session.begin():
        async with session.begin_nested():
            await write(session)
    assert await emails(session) == ["ada", "ben", "new"]


async def test_savepoint_is_rolled_back_alone(session: AsyncSession) -> None:
    await write(session, "outer")
    with pytest.raises(LookupError):
        async with session.begin_nested():
            await write_and_fail(session)
    await session.commit()
    assert await emails(session) == ["ada", "ben", "outer"]


async def test_awaited_savepoint_is_ended_by_hand(session: AsyncSession) -> None:
    savepoint = await session.begin_nested()
    await write(session, "lost")
    await savepoint.rollback()
    savepoint = await session.begin_nested()
    await write(session, "kept")
    await savepoint.commit()
    await session.commit()
    assert await emails(session) == ["ada", "ben", "kept"]


async def test_savepoints_nest(session: AsyncSession) -> None:
    async with session.begin_nested():
        await write(session, "first")
        inner = await session.begin_nested()
        await write(session, "second")
        await inner.rollback()
        await write(session, "third")
    await session.commit()
    assert await emails(session) == ["ada", "ben", "first", "third"]


async def test_savepoint_after_a_read_writes(session: AsyncSession) -> None:
    assert await emails(session) == ["ada", "ben"]
    async with session.begin_nested():
        await write(session)
    assert await emails(session) == ["ada", "ben", "new"]
    await session.commit()


async def test_savepoint_holds_an_integrity_error(session: AsyncSession) -> None:
    await write(session)
    with pytest.raises(IntegrityError):
        async with session.begin_nested():
            session.add(User(email="ada"))
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_commit_ends_all_savepoints(session: AsyncSession) -> None:
    await session.begin_nested()
    await write(session)
    await session.commit()
    assert not session.in_transaction()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_rollback_ends_all_savepoints(session: AsyncSession) -> None:
    await session.begin_nested()
    await write(session)
    await session.rollback()
    assert not session.in_transaction()
    assert await emails(session) == ["ada", "ben"]


async def test_session_knows_where_it_is(session: AsyncSession) -> None:
    assert (session.in_transaction(), session.in_nested_transaction()) == (False, False)
    await emails(session)
    assert (session.in_transaction(), session.in_nested_transaction()) == (True, False)
    savepoint = await session.begin_nested()
    assert session.get_nested_transaction() is savepoint
    assert (session.in_transaction(), session.in_nested_transaction()) == (True, True)
    await savepoint.commit()
    assert (session.in_transaction(), session.in_nested_transaction()) == (True, False)
    await session.commit()
    assert (session.in_transaction(), session.in_nested_transaction()) == (False, False)


# Rollback ----------------------------------------------------------------------------------


async def test_rollback_makes_new_objects_transient(session: AsyncSession) -> None:
    user = User(email="new")
    session.add(user)
    await session.flush()
    await session.rollback()
    assert inspect(user).transient


async def test_rollback_restores_attributes(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    user.email = "countess"
    await session.flush()
    await session.rollback()
    assert await user.awaitable_attrs.email == "ada"


async def test_rollback_restores_deleted_objects(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await session.delete(user)
    await session.flush()
    await session.rollback()
    assert user in session
    assert await user.awaitable_attrs.email == "ada"


async def test_rollback_of_a_savepoint_restores_its_part(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    user.email = "outer"
    savepoint = await session.begin_nested()
    user.email = "inner"
    await session.flush()
    await savepoint.rollback()
    assert await user.awaitable_attrs.email == "outer"


async def test_commit_and_rollback_of_nothing_do_nothing(session: AsyncSession) -> None:
    await session.commit()
    await session.rollback()
    await session.flush()
    assert not session.in_transaction()


# The end of a session ----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "aclose", "reset", "invalidate"])
async def test_ended_session_forgets_all_and_can_be_used_again(
    session: AsyncSession, end: str
) -> None:
    user = await session.get_one(User, 1)
    await write(session)
    await getattr(session, end)()
    assert not session.in_transaction()
    assert user not in session
    assert await emails(session) == ["ada", "ben"]


@pytest.mark.parametrize("end", ["close", "aclose", "reset", "invalidate"])
async def test_session_that_only_read_can_be_ended(session: AsyncSession, end: str) -> None:
    await emails(session)
    await getattr(session, end)()
    assert await emails(session) == ["ada", "ben"]


async def test_session_block_rolls_back_what_was_not_committed(sessions: Any) -> None:
    async with sessions() as first:
        await write(first)
    async with sessions() as second:
        assert await emails(second) == ["ada", "ben"]


async def test_closed_session_can_be_told_to_stay_closed(sessions: Any) -> None:
    session = sessions(close_resets_only=False)
    await session.reset()
    assert await emails(session) == ["ada", "ben"]
    await session.close()
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await emails(session)


# Ways to take part in a transaction --------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
)
async def test_join_transaction_mode_changes_nothing_on_an_engine(sessions: Any, mode: str) -> None:
    async with sessions(join_transaction_mode=mode) as session:
        assert await emails(session) == ["ada", "ben"]
        await write(session, "lost")
        await session.rollback()
        assert await emails(session) == ["ada", "ben"]
        await write(session, "kept")
        await session.commit()
        assert await emails(session) == ["ada", "ben", "kept"]


@pytest.mark.parametrize("mode", ["control_fully", "create_savepoint"])
async def test_rollback_of_a_read_holds_no_later_reader_in_the_past(
    sessions: Any, mode: str
) -> None:
    async with sessions() as writer:
        for number in range(3):
            async with await sessions.after(writer, join_transaction_mode=mode) as reader:
                assert len(await emails(reader)) == 2 + number
                await reader.rollback()
            await write(writer, f"user {number}")
            await writer.commit()


async def test_two_phase_is_refused_by_sqlite(sessions: Any) -> None:
    async with sessions(twophase=True) as session:
        with pytest.raises(NotImplementedError):
            await emails(session)
