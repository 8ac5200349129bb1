"""Reading and loading, as SQLAlchemy documents it for `AsyncSession`."""

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, inspect, literal, select, union_all, update
from sqlalchemy.exc import (
    InvalidRequestError,
    MissingGreenlet,
    NoResultFound,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Session,
    aliased,
    contains_eager,
    defer,
    immediateload,
    joinedload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
)

from models import Post, User


def must_be_awaited(load: Callable[[], object]) -> bool:
    """Whether it does I/O to get at an attribute, and is refused."""
    with warnings.catch_warnings():
        # The driver's coroutine that was not awaited says so when it is collected.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            load()
        except (MissingGreenlet, StatementError) as error:  # the latter if there is a connection
            refused = "greenlet_spawn has not been called" in str(error)
        else:
            refused = False
        gc.collect()
    return refused


async def rename(session: AsyncSession, email: str) -> None:
    """Change ada's row without telling the session."""
    statement = update(User).where(User.id == 1).values(email=email)
    await session.execute(statement.execution_options(synchronize_session=False))


# Results -----------------------------------------------------------------------------------


async def test_execute_gives_rows(session: AsyncSession) -> None:
    rows = await session.execute(
        select(User.email, func.count(Post.id)).join(User.posts).group_by(User.id)
    )
    assert rows.all() == [("ada", 2), ("ben", 1)]


async def test_scalars_gives_entities(session: AsyncSession) -> None:
    users = await session.scalars(select(User).order_by(User.id))
    assert [user.email for user in users] == ["ada", "ben"]


async def test_scalar_gives_the_first_column_of_the_first_row(session: AsyncSession) -> None:
    assert await session.scalar(select(User.email).order_by(User.id.desc())) == "ben"


async def test_scalar_gives_none_without_a_row(session: AsyncSession) -> None:
    assert await session.scalar(select(User.email).where(User.id == 99)) is None


async def test_scalar_one_insists_on_a_row(session: AsyncSession) -> None:
    with pytest.raises(NoResultFound):
        (await session.execute(select(User).where(User.id == 99))).scalar_one()


async def test_parameters_are_bound(session: AsyncSession) -> None:
    statement = select(User.id).where(User.email == literal("nobody").op("||")(""))
    assert (await session.scalars(statement)).all() == []


async def test_selects_compose(session: AsyncSession) -> None:
    writer = aliased(User)
    busy = select(Post.user_id).group_by(Post.user_id).having(func.count() > 1).cte()
    statement = select(Post.title).join(writer, Post.user).where(writer.id.in_(select(busy)))
    assert set(await session.scalars(statement)) == {"one", "two"}


async def test_union_is_read_as_entities(session: AsyncSession) -> None:
    both = union_all(select(User).where(User.id == 1), select(User).where(User.id == 2))
    users = await session.scalars(select(User).from_statement(both))
    assert {user.email for user in users} == {"ada", "ben"}


async def test_run_sync_hands_over_the_session_and_the_arguments(session: AsyncSession) -> None:
    def titles(sync_session: Session, email: str, *, limit: int) -> list[str]:
        query = sync_session.query(User).filter_by(email=email)
        return [post.title for post in query.one().posts][:limit]

    assert await session.run_sync(titles, "ada", limit=1) == ["one"]


# By primary key ----------------------------------------------------------------------------


async def test_get_finds_a_row(session: AsyncSession) -> None:
    user = await session.get(User, 1)
    assert user is not None
    assert user.email == "ada"


async def test_get_gives_none_without_a_row(session: AsyncSession) -> None:
    assert await session.get(User, 99) is None


async def test_get_asks_the_identity_map_first(
    session: AsyncSession, statements: list[str]
) -> None:
    user = await session.get(User, 1)
    statements.clear()
    assert await session.get(User, 1) is user
    assert statements == []


async def test_get_reads_anew_with_populate_existing(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await rename(session, "countess")
    await session.get(User, 1, populate_existing=True)
    assert user.email == "countess"


async def test_get_takes_loader_options(session: AsyncSession) -> None:
    user = await session.get_one(User, 1, options=[selectinload(User.posts)])
    assert len(user.posts) == 2


async def test_get_locks_the_row(session: AsyncSession) -> None:
    assert await session.get(User, 1, with_for_update=True) is not None


async def test_get_one_insists_on_a_row(session: AsyncSession) -> None:
    with pytest.raises(NoResultFound):
        await session.get_one(User, 99)


# Refresh and expire ------------------------------------------------------------------------


@pytest.mark.parametrize("with_for_update", [False, True])
async def test_refresh_reads_the_row_anew(session: AsyncSession, with_for_update: bool) -> None:
    user = await session.get_one(User, 1)
    await rename(session, "countess")
    await session.refresh(user, with_for_update=with_for_update)
    assert user.email == "countess"


async def test_refresh_reads_only_the_named_attributes(session: AsyncSession) -> None:
    post = await session.get_one(Post, 1)
    await session.execute(
        update(Post).values(title="new", body="new"),
        execution_options={"synchronize_session": False},
    )
    await session.refresh(post, attribute_names=["title"])
    assert (post.title, post.body) == ("new", "body of one")


async def test_refresh_loads_a_relationship_by_name(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await session.refresh(user, ["posts"])
    assert len(user.posts) == 2


async def test_refresh_of_what_was_never_saved_is_an_error(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match="not persistent"):
        await session.refresh(User(email="new"))


async def test_expired_attributes_are_read_anew(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await rename(session, "countess")
    session.expire(user, ["email"])
    assert await user.awaitable_attrs.email == "countess"


async def test_expire_all_expires_every_object(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    session.expire_all()
    assert must_be_awaited(lambda: user.email)


async def test_commit_expires_by_default(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await session.commit()
    assert "email" in inspect(user).unloaded


async def test_expired_object_is_read_anew_when_awaited(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    await session.commit()
    assert await user.awaitable_attrs.email == "ada"


async def test_commit_keeps_what_is_loaded_if_asked_to(sessions: Any) -> None:
    async with sessions(expire_on_commit=False) as session:
        user = User(email="new")
        session.add(user)
        await session.commit()
        assert user.email == "new"


# Relationships -----------------------------------------------------------------------------


async def test_implicit_lazy_load_is_an_error(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    assert must_be_awaited(lambda: user.posts)


async def test_awaitable_attrs_load_a_collection(session: AsyncSession) -> None:
    user = await session.get_one(User, 1)
    assert [post.title for post in await user.awaitable_attrs.posts] == ["one", "two"]


async def test_awaitable_attrs_load_a_parent(session: AsyncSession) -> None:
    post = await session.get_one(Post, 3)
    assert (await post.awaitable_attrs.user).email == "ben"


async def test_lazy_load_after_commit_begins_a_transaction(session: AsyncSession) -> None:
    post = await session.get_one(Post, 3)
    await session.commit()
    assert (await post.awaitable_attrs.user).id == 2
    assert session.in_transaction()


@pytest.mark.parametrize("load", [selectinload, joinedload, subqueryload, immediateload])
async def test_eager_loads_leave_nothing_to_load(session: AsyncSession, load: Any) -> None:
    users = await session.scalars(select(User).options(load(User.posts)).order_by(User.id))
    titles = [[post.title for post in user.posts] for user in users.unique()]
    assert titles == [["one", "two"], ["three"]]


async def test_contains_eager_fills_from_a_join(session: AsyncSession) -> None:
    statement = select(Post).join(Post.user).where(User.email == "ben")
    post = (await session.scalars(statement.options(contains_eager(Post.user)))).one()
    assert post.user.email == "ben"


async def test_raiseload_is_an_error(session: AsyncSession) -> None:
    user = await session.get_one(User, 1, options=[raiseload(User.posts)])
    with pytest.raises(InvalidRequestError, match="raise"):
        await user.awaitable_attrs.posts


# Deferred columns --------------------------------------------------------------------------


@pytest.mark.parametrize("option", [defer(Post.body), load_only(Post.title)])
async def test_deferred_column_is_loaded_when_awaited(session: AsyncSession, option: Any) -> None:
    post = await session.get_one(Post, 1, options=[option])
    assert must_be_awaited(lambda: post.body)
    assert await post.awaitable_attrs.body == "body of one"


async def test_load_only_loads_the_columns_it_names(session: AsyncSession) -> None:
    statement = select(Post).where(Post.id == 1).options(load_only(Post.body))
    assert (await session.scalars(statement)).one().body == "body of one"
