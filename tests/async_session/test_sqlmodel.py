"""SQLModel: its models on our session, and its `exec` on a session that is both."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, Relationship, SQLModel, func, select, update
from sqlmodel import Session as SQLModelSession
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelAsyncSession

from orm import BookmarkSession, Database
from orm.session import RoutedSession


class Team(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str
    heroes: list["Hero"] = Relationship(back_populates="team")


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str
    team_id: int | None = Field(default=None, foreign_key="team.id")
    team: Team | None = Relationship(back_populates="heroes")


class RoutedExec(SQLModelSession, RoutedSession):
    """What calls `exec`, in front of what is routed."""


class BookmarkExec(SQLModelAsyncSession, BookmarkSession):
    """SQLModel's session over ours."""

    sync_session_class = RoutedExec


@pytest.fixture
async def heroes(session: AsyncSession) -> AsyncSession:
    """A session that created the tables and two heroes of one team."""
    connection = await session.connection()
    await connection.run_sync(SQLModel.metadata.create_all)
    team = Team(name="team")
    session.add_all([Hero(name="first", team=team), Hero(name="second", team=team)])
    await session.commit()
    return session


@pytest.fixture
async def exec_session(heroes: AsyncSession, sessions: Any) -> Any:
    plain = sessions.options["class_"] is AsyncSession
    class_ = SQLModelAsyncSession if plain else BookmarkExec
    async with await sessions.after(heroes, class_=class_) as session:
        yield session


async def test_models_are_read(heroes: AsyncSession) -> None:
    found = await heroes.scalars(select(Hero).order_by(Hero.name))
    assert [hero.name for hero in found] == ["first", "second"]


async def test_models_are_changed_and_deleted(heroes: AsyncSession) -> None:
    first, second = (await heroes.scalars(select(Hero).order_by(Hero.name))).all()
    first.name = "renamed"
    await heroes.delete(second)
    await heroes.commit()
    await heroes.refresh(first)
    assert first.name == "renamed"
    assert await heroes.scalar(select(func.count()).select_from(Hero)) == 1


async def test_exec_of_one_entity_gives_scalars(exec_session: SQLModelAsyncSession) -> None:
    found = await exec_session.exec(select(Hero).order_by(Hero.name))
    assert [hero.name for hero in found] == ["first", "second"]


async def test_exec_of_several_gives_rows(exec_session: SQLModelAsyncSession) -> None:
    found = await exec_session.exec(select(Hero.name, Team.name).join(Team).order_by(Hero.name))
    assert found.all() == [("first", "team"), ("second", "team")]


async def test_exec_writes(exec_session: SQLModelAsyncSession) -> None:
    await exec_session.exec(update(Hero).values(name="same"))
    await exec_session.commit()
    assert set(await exec_session.exec(select(Hero.name))) == {"same"}


async def test_exec_sees_what_its_session_wrote(exec_session: SQLModelAsyncSession) -> None:
    exec_session.add(Hero(name="third"))
    await exec_session.commit()
    assert (await exec_session.exec(select(Hero.name).where(Hero.name == "third"))).all() == [
        "third"
    ]


async def test_a_database_makes_sessions_of_sqlmodels_class(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/app.db", replicas=1, max_wait=60) as db:
        async with db.connect() as connection:
            await connection.run_sync(SQLModel.metadata.create_all)
            await connection.commit()
        make = db.sessionmaker(class_=SQLModelAsyncSession, expire_on_commit=False)
        async with make() as session:
            session.add(Hero(name="first"))
            await session.commit()
            assert (await session.exec(select(Hero.name))).all() == ["first"]
            assert isinstance(session, BookmarkSession)
            assert session.last_route is not None
            assert session.last_route.role == "replica"
