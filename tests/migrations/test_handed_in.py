"""Connections and engines that a program hands in: no row is lost through them either."""

from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm import Database
from tests.migrations.support import Project

REBUILD = (
    "with op.batch_alter_table('users', recreate='always') as batch:",
    "    batch.drop_column('email')",
)


@pytest.fixture
def blog(project: Project) -> Project:
    """Users with posts that go with them, and a revision that rebuilds the users' table."""
    project.revision(
        1,
        "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('email', sa.String(20)))",
        "op.create_table('posts', sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('user_id', sa.Integer, sa.ForeignKey('users.id', ondelete='CASCADE')))",
    )
    project.alembic("upgrade", "head")
    project.query("INSERT INTO users (id, email) VALUES (1, 'a'), (2, 'b')")
    project.query("INSERT INTO posts (user_id) VALUES (1), (1), (1)")
    project.revision(2, *REBUILD)
    return project


def alembic(connection: Connection, project: Project) -> None:
    project.attributes["connection"] = connection
    project.alembic("upgrade", "head")


def enforcing(**options: Any) -> AsyncEngine:
    """An engine like many an application's own."""
    engine = create_async_engine("sqlite+aiosqlite:///app.db", **options)

    def enforce(connection: Any, _: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    event.listen(engine.sync_engine, "connect", enforce)
    return engine


def posts(project: Project) -> int:
    return int(project.query("SELECT count(*) FROM posts")[0][0])


async def test_a_connection_that_enforces_foreign_keys(blog: Project) -> None:
    engine = enforcing()
    async with engine.connect() as connection:
        await connection.run_sync(alembic, blog)
        enforced = await connection.exec_driver_sql("PRAGMA foreign_keys")
        assert enforced.scalar() == 1, "it is as it was"
    await engine.dispose()
    assert posts(blog) == 3
    assert blog.ledger == ["0001", "0002"]


def test_an_engine_that_enforces_foreign_keys(blog: Project) -> None:
    blog.attributes["connection"] = enforcing()
    blog.alembic("upgrade", "head")
    assert posts(blog) == 3
    assert blog.ledger == ["0001", "0002"]


async def test_the_librarys_own_connection(blog: Project) -> None:
    async with Database("sqlite+aiosqlite:///app.db") as db:
        async with db.cluster.writer.connect() as connection:
            await connection.run_sync(alembic, blog)
    assert posts(blog) == 3
    assert blog.ledger == ["0001", "0002"]


@pytest.mark.parametrize("options", [{}, {"connect_args": {"isolation_level": None}}])
async def test_in_a_transaction_it_is_refused(blog: Project, options: dict[str, Any]) -> None:
    engine = enforcing(**options)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(CommandError, match="Hand the connection in before its transaction"):
            await connection.run_sync(alembic, blog)
    await engine.dispose()
    assert posts(blog) == 3
    assert blog.ledger == ["0001"]


async def test_a_failing_revision_leaves_nothing(blog: Project) -> None:
    """The driver's own transactions do not hold CREATE TABLE."""
    blog.revision(2, "op.create_table('half', sa.Column('id', sa.Integer))", "op.execute('?')")
    engine = enforcing()
    async with engine.connect() as connection:
        with pytest.raises(CommandError, match="nothing of it stays"):
            await connection.run_sync(alembic, blog)
    await engine.dispose()
    assert "half" not in blog.tables
    assert blog.ledger == ["0001"]
