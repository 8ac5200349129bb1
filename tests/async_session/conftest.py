"""Four kinds of session that every test here runs over, and that no test may tell apart."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from models import Base, Post, User
from orm import BookmarkSession, Database


@dataclass(frozen=True)
class Sessions:
    """One kind of session: what makes it, as `async_sessionmaker` takes it."""

    options: Mapping[str, Any]

    def maker(self, **options: Any) -> async_sessionmaker[Any]:
        return async_sessionmaker(**{**self.options, **options})

    def __call__(self, **options: Any) -> AsyncSession:
        session: AsyncSession = self.maker(**options)()
        return session

    async def after(self, earlier: AsyncSession, **options: Any) -> AsyncSession:
        """A new session that sees all that an earlier one saw and wrote."""
        if "database" in self.options:
            assert isinstance(earlier, BookmarkSession)
            options["constraint"] = await earlier.bookmark()
        return self(**options)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with two users: ada, who wrote two posts, and ben, who wrote one."""
    file = tmp_path_factory.mktemp("template") / "app.db"

    async def create() -> None:
        engine = _engine(file)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session, session.begin():
            ada, ben = User(email="ada"), User(email="ben")
            session.add_all([ada, ben])
            await session.flush()
            for user, title in [(ada, "one"), (ada, "two"), (ben, "three")]:
                session.add(Post(user=user, title=title, body=f"body of {title}"))
                await session.flush()
        await engine.dispose()

    asyncio.run(create())
    return file


@pytest.fixture(params=["plain", "bookmark", "primary", "replicas"])
async def sessions(
    request: pytest.FixtureRequest, template: Path, tmp_path: Path
) -> AsyncIterator[Sessions]:
    """An `AsyncSession`; a `BookmarkSession` in its place, without a Database and with one."""
    file = tmp_path / "app.db"
    shutil.copyfile(template, file)
    if request.param in ("plain", "bookmark"):
        class_ = AsyncSession if request.param == "plain" else BookmarkSession
        engine = _engine(file)
        async with _returned(engine):
            yield Sessions({"class_": class_, "bind": engine})
        await engine.dispose()
    else:
        replicas = 2 if request.param == "replicas" else 0
        async with Database(f"sqlite+aiosqlite:///{file}", replicas=replicas) as db:
            servers = (db.cluster.primary, *db.cluster.replicas)
            async with _returned(db.cluster.writer, *(server.engine for server in servers)):
                yield Sessions({"class_": BookmarkSession, "database": db})


@pytest.fixture
async def session(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


@asynccontextmanager
async def _returned(*engines: AsyncEngine) -> AsyncIterator[None]:
    yield
    held = sum(engine.pool.checkedout() for engine in engines)  # type: ignore[attr-defined]
    assert held == 0, "a connection has leaked"


def _engine(file: Path) -> AsyncEngine:
    """SQLite as SQLAlchemy's documentation sets it up for SAVEPOINT, with foreign keys enforced."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{file}", connect_args={"isolation_level": None}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(driver: Any, _: Any) -> None:
        driver.execute("PRAGMA journal_mode = WAL")
        driver.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
