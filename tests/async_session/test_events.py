"""Session events, as SQLAlchemy documents them, on the sync session behind ours."""

from typing import Any

import pytest
from sqlalchemy import delete, event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from models import Post, User


async def emails(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(User.email).order_by(User.id)))


def record(session: AsyncSession, *names: str) -> list[str]:
    """The names of the events, in the order in which they come."""
    seen: list[str] = []
    for name in names:
        event.listen(session.sync_session, name, lambda *_, name=name, **__: seen.append(name))
    return seen


async def test_events_of_a_commit_come_in_order(session: AsyncSession) -> None:
    seen = record(
        session,
        "after_transaction_create",
        "after_begin",
        "before_commit",
        "before_flush",
        "after_flush",
        "after_flush_postexec",
        "after_commit",
        "after_transaction_end",
    )
    session.add(User(email="new"))
    await session.commit()
    assert seen == [
        "after_transaction_create",
        "before_commit",
        "before_flush",
        "after_transaction_create",
        "after_begin",
        "after_flush",
        "after_flush_postexec",
        "after_transaction_end",
        "after_commit",
        "after_transaction_end",
    ]


async def test_events_of_a_rollback_come_in_order(session: AsyncSession) -> None:
    await emails(session)
    seen = record(session, "after_rollback", "after_soft_rollback", "after_commit")
    await session.rollback()
    assert seen == ["after_rollback", "after_soft_rollback"]


async def test_savepoint_has_events_of_its_own(session: AsyncSession) -> None:
    await session.connection()
    seen = record(session, "after_begin", "after_commit", "after_transaction_end")
    async with session.begin_nested():
        await session.connection()
    assert seen == ["after_begin", "after_commit", "after_transaction_end"]


async def test_after_begin_hands_over_the_connection(session: AsyncSession) -> None:
    found: list[int] = []

    @event.listens_for(session.sync_session, "after_begin")
    def look(_session: Any, _transaction: Any, connection: Any) -> None:
        found.append(connection.scalar(select(1)))

    await emails(session)
    assert found == [1]


async def test_before_flush_may_add_to_the_flush(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "before_flush")
    def greet(sync_session: Session, *_: Any) -> None:
        for user in [item for item in sync_session.new if isinstance(item, User)]:
            user.posts.append(Post(title=f"hello {user.email}", body=""))

    session.add(User(email="new"))
    await session.commit()
    assert "hello new" in (await session.scalars(select(Post.title))).all()


async def test_before_commit_may_write(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "before_commit", once=True)
    def sign(sync_session: Session) -> None:
        sync_session.add(User(email="signature"))

    await emails(session)
    await session.commit()
    assert await emails(session) == ["ada", "ben", "signature"]


async def test_after_flush_may_write_by_the_connection(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "after_flush")
    def clear(sync_session: Session, _: Any) -> None:
        sync_session.connection().execute(delete(Post))

    session.add(User(email="new"))
    await session.commit()
    assert (await session.scalars(select(Post))).all() == []


async def test_error_in_a_listener_stops_the_commit(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "before_flush", once=True)
    def refuse(*_: Any) -> None:
        raise LookupError

    session.add(User(email="new"))
    with pytest.raises(LookupError):
        await session.commit()
    await session.rollback()
    assert await emails(session) == ["ada", "ben"]


async def test_objects_tell_when_they_become_persistent(session: AsyncSession) -> None:
    seen = record(session, "transient_to_pending", "pending_to_persistent", "persistent_to_deleted")
    user = User(email="new")
    session.add(user)
    await session.flush()
    await session.delete(user)
    await session.flush()
    assert seen == ["transient_to_pending", "pending_to_persistent", "persistent_to_deleted"]


# do_orm_execute ----------------------------------------------------------------------------


async def test_do_orm_execute_sees_every_load(session: AsyncSession) -> None:
    seen: list[str] = []

    @event.listens_for(session.sync_session, "do_orm_execute")
    def look(state: ORMExecuteState) -> None:
        kind = (
            "relationship"
            if state.is_relationship_load
            else "column"
            if state.is_column_load
            else "select"
            if state.is_select
            else "other"
        )
        seen.append(kind)

    user = await session.get_one(User, 1)
    await user.awaitable_attrs.posts
    await session.refresh(user)
    assert seen == ["select", "relationship", "column"]


async def test_do_orm_execute_may_add_criteria(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "do_orm_execute")
    def only_ben(state: ORMExecuteState) -> None:
        criteria = with_loader_criteria(User, User.email == "ben")
        state.statement = state.statement.options(criteria)

    assert await emails(session) == ["ben"]


async def test_do_orm_execute_may_run_the_statement_itself(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "do_orm_execute")
    def freeze(state: ORMExecuteState) -> Any:
        return state.invoke_statement().freeze()()

    assert await emails(session) == ["ada", "ben"]


async def test_do_orm_execute_may_run_another_statement(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "do_orm_execute")
    def ben_instead(state: ORMExecuteState) -> Any:
        return state.invoke_statement(statement=select(User.email).where(User.id == 2))

    assert await emails(session) == ["ben"]


async def test_do_orm_execute_may_write_first(session: AsyncSession) -> None:
    @event.listens_for(session.sync_session, "do_orm_execute", once=True)
    def add(state: ORMExecuteState) -> None:
        state.session.add(User(email="new"))

    assert await emails(session) == ["ada", "ben", "new"]


async def test_do_orm_execute_sees_the_bind_arguments_of_sqlalchemy_only(
    session: AsyncSession,
) -> None:
    seen: list[Any] = []

    @event.listens_for(session.sync_session, "do_orm_execute")
    def look(state: ORMExecuteState) -> None:
        seen.append(sorted(state.bind_arguments))

    await session.scalars(select(User))
    assert seen == [["clause", "mapper"]]
