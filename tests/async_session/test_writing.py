"""Writing, as SQLAlchemy documents it for `AsyncSession`."""

from typing import Any

import pytest
from sqlalchemy import delete, func, insert, inspect, select, text, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, make_transient

from models import Post, User


async def emails(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(User.email).order_by(User.id)))


async def titles(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Post.title).order_by(Post.id)))


# The unit of work --------------------------------------------------------------------------


async def test_flush_gives_keys_and_defaults_of_the_server(session: AsyncSession) -> None:
    user = User(email="new")
    session.add(user)
    await session.flush()
    assert user.id == 3
    assert user.created_at is not None


async def test_add_cascades_to_what_hangs_on_the_object(session: AsyncSession) -> None:
    user = User(email="new", posts=[Post(title="four", body="")])
    session.add(user)
    await session.commit()
    assert await titles(session) == ["one", "two", "three", "four"]


async def test_add_all_writes_all(session: AsyncSession) -> None:
    session.add_all([User(email="new 1"), User(email="new 2")])
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new 1", "new 2"]


async def test_changed_attributes_are_written(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    user.email = "countess"
    await session.commit()
    assert await emails(session) == ["countess", "ben"]


async def test_session_knows_what_is_new_dirty_and_deleted(session: AsyncSession) -> None:
    ada, ben = (await session.scalars(select(User).order_by(User.id))).all()
    new = User(email="new")
    session.add(new)
    ada.email = "countess"
    await session.delete(ben)
    assert (set(session.new), set(session.dirty), set(session.deleted)) == ({new}, {ada}, {ben})
    assert new in session
    assert session.is_modified(ada)


async def test_expunged_object_is_not_written(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    user.email = "countess"
    session.expunge(user)
    await session.commit()
    assert await emails(session) == ["ada", "ben"]
    assert inspect(user).detached


async def test_expunge_all_empties_the_session(session: AsyncSession) -> None:
    await session.get_one(User, 1)
    session.expunge_all()
    assert list(session) == []


async def test_detached_object_is_taken_in_again(sessions: Any) -> None:
    async with sessions() as first:
        user = await first.get_one(User, 1)
    async with sessions() as second:
        second.add(user)
        user.email = "countess"
        await second.commit()
        assert await emails(second) == ["countess", "ben"]


async def test_transient_copy_is_a_new_row(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    session.expunge(user)
    make_transient(user)
    user.id, user.email = None, "copy"  # type: ignore[assignment]
    session.add(user)
    await session.commit()
    assert await emails(session) == ["ada", "ben", "copy"]


# Autoflush ---------------------------------------------------------------------------------


async def test_query_sees_what_is_pending(session: AsyncSession) -> None:
    session.add(User(email="new"))
    assert await emails(session) == ["ada", "ben", "new"]


async def test_query_in_no_autoflush_does_not(session: AsyncSession) -> None:
    session.add(User(email="new"))
    with session.no_autoflush:
        assert await emails(session) == ["ada", "ben"]
    assert await emails(session) == ["ada", "ben", "new"]


async def test_query_of_a_session_without_autoflush_does_not(sessions: Any) -> None:
    async with sessions(autoflush=False) as session:
        session.add(User(email="new"))
        assert await emails(session) == ["ada", "ben"]
        await session.flush()
        assert await emails(session) == ["ada", "ben", "new"]


# Delete ------------------------------------------------------------------------------------


async def test_delete_takes_the_row_and_what_belongs_to_it(session: AsyncSession) -> None:
    await session.delete(await session.get_one(User, 1))
    await session.commit()
    assert await emails(session) == ["ben"]
    assert await titles(session) == ["three"]


async def test_delete_all_takes_every_row_given(session: AsyncSession) -> None:
    await session.delete_all((await session.scalars(select(User))).all())
    await session.commit()
    assert await emails(session) == []


async def test_orphan_is_deleted(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    (await user.awaitable_attrs.posts).pop()
    await session.commit()
    assert await titles(session) == ["one", "three"]


async def test_delete_of_what_was_never_saved_is_an_error(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match="not persisted"):
        await session.delete(User(email="new"))


async def test_session_reads_on_after_a_refused_delete(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match="not persisted"):
        await session.delete(User(email="new"))
    assert await emails(session) == ["ada", "ben"]


# Merge -------------------------------------------------------------------------------------


async def test_merge_updates_the_row_of_that_key(session: AsyncSession) -> None:
    merged = await session.merge(User(id=1, email="countess"))
    await session.commit()
    assert await emails(session) == ["countess", "ben"]
    assert merged is await session.get(User, 1)


async def test_merge_inserts_a_row_of_a_new_key(session: AsyncSession) -> None:
    await session.merge(User(id=9, email="new"))
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_merge_without_load_takes_the_state_as_it_is(sessions: Any) -> None:
    async with sessions() as first:
        user = await first.get_one(User, 1)
    async with sessions() as second:
        merged = await second.merge(user, load=False)
        assert merged is not user
        assert merged.email == "ada"
        assert not second.dirty


async def test_merge_all_merges_each(session: AsyncSession) -> None:
    await session.merge_all([User(id=1, email="countess"), User(id=9, email="new")])
    await session.commit()
    assert await emails(session) == ["countess", "ben", "new"]


# Statements --------------------------------------------------------------------------------


async def test_bulk_insert_writes_all_rows(session: AsyncSession) -> None:
    await session.execute(insert(User), [{"email": f"user {n}"} for n in range(1_000)])
    await session.commit()
    assert await session.scalar(select(func.count()).select_from(User)) == 1_002


async def test_bulk_insert_returns_entities_in_order(session: AsyncSession) -> None:
    rows = [{"email": f"user {n}"} for n in range(100)]
    statement = insert(User).returning(User, sort_by_parameter_order=True)
    users = (await session.scalars(statement, rows)).all()
    assert [user.email for user in users] == [row["email"] for row in rows]
    assert users[0] in session


async def test_upsert_returns_what_it_wrote(session: AsyncSession) -> None:
    statement = sqlite_insert(User).values([{"email": "ada"}, {"email": "new"}])
    ids = await session.scalars(statement.on_conflict_do_nothing().returning(User.id))
    assert len(ids.all()) == 1
    await session.commit()
    assert await emails(session) == ["ada", "ben", "new"]


async def test_insert_from_select(session: AsyncSession) -> None:
    source = select(User.id, User.email, User.email)
    await session.execute(insert(Post).from_select(["user_id", "title", "body"], source))
    await session.commit()
    assert await titles(session) == ["one", "two", "three", "ada", "ben"]


@pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch"])
async def test_update_reaches_loaded_objects(session: AsyncSession, synchronize: str) -> None:
    user = await session.get_one(User, 1)
    statement = update(User).where(User.email == "ada").values(email="countess")
    await session.execute(statement, execution_options={"synchronize_session": synchronize})
    assert user.email == "countess"


async def test_unsynchronized_update_does_not(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    statement = update(User).values(email=User.email + "!")
    await session.execute(statement, execution_options={"synchronize_session": False})
    assert user.email == "ada"


async def test_update_returns_what_it_changed(session: AsyncSession) -> None:
    statement = update(User).where(User.id == 1).values(email="countess").returning(User)
    assert (await session.scalars(statement)).one().email == "countess"


async def test_update_by_primary_key_takes_many_rows(session: AsyncSession) -> None:
    await session.execute(update(User), [{"id": 1, "email": "a"}, {"id": 2, "email": "b"}])
    await session.commit()
    assert await emails(session) == ["a", "b"]


async def test_delete_statement_takes_loaded_objects_with_it(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await session.execute(delete(User).where(User.id == 1))
    assert inspect(user).was_deleted or user not in session
    assert await emails(session) == ["ben"]


async def test_rowcount_says_how_many(session: AsyncSession) -> None:
    result: Any = await session.execute(update(Post).values(body=""))
    assert result.rowcount == 3


async def test_text_writes(session: AsyncSession) -> None:
    await session.execute(text("UPDATE users SET email = :new WHERE id = 1"), {"new": "countess"})
    await session.commit()
    assert await emails(session) == ["countess", "ben"]


async def test_bulk_methods_of_the_sync_session_write(session: AsyncSession) -> None:
    def save(sync_session: Session) -> None:
        sync_session.bulk_save_objects([User(email="new 1")])
        sync_session.bulk_insert_mappings(inspect(User), [{"email": "new 2"}])
        sync_session.bulk_update_mappings(inspect(User), [{"id": 1, "email": "countess"}])

    await session.run_sync(save)
    await session.commit()
    assert await emails(session) == ["countess", "ben", "new 1", "new 2"]
