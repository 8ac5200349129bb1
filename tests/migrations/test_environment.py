import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm.backends import backend_for
from tests.migrations.support import ENGINES, Project

Migrator = tuple[AsyncEngine, Callable[..., None]]
USERS = (
    "op.create_table('users', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('email', sa.String(20)))"
)
POSTS = (
    "op.create_table('posts', sa.Column('id', sa.Integer, primary_key=True),"
    " sa.Column('user_id', sa.Integer, sa.ForeignKey('users.id', ondelete='CASCADE')))"
)


@pytest.fixture
def blog(project: Project) -> Project:
    """A project with users, and three posts by the first one."""
    project.revision(1, USERS, POSTS)
    project.alembic("upgrade", "head")
    project.query("INSERT INTO users (id, email) VALUES (1, 'a'), (2, 'b')")
    project.query("INSERT INTO posts (user_id) VALUES (1), (1), (1)")
    return project


def test_the_librarys_own_table_is_there_and_not_compared(project: Project) -> None:
    project.alembic("upgrade", "head")
    assert "orm_position" in project.tables
    assert "No new upgrade operations" in project.alembic("check")


def test_each_revision_raises_the_position(project: Project) -> None:
    project.revision(1, USERS)
    project.alembic("upgrade", "head")
    [(history, first)] = project.query("SELECT history, sequence FROM orm_position")
    project.alembic("upgrade", "head")
    assert project.query("SELECT history, sequence FROM orm_position") == [(history, first)]
    project.revision(2, POSTS)
    project.alembic("upgrade", "head")
    assert project.query("SELECT history, sequence FROM orm_position") == [(history, first + 1)]


# Whole or not at all -----------------------------------------------------------------------


def test_a_failing_revision_leaves_nothing_and_earlier_ones_stay(project: Project) -> None:
    project.revision(1, USERS)
    project.revision(2, POSTS, "op.execute('INSERT INTO users (id) VALUES (7)')", "op.execute('?')")
    project.revision(3, "op.create_table('later', sa.Column('id', sa.Integer))")
    with pytest.raises(CommandError, match="syntax error"):
        project.alembic("upgrade", "head")
    assert project.tables == {"alembic_version", "orm_position", "orm_revisions", "users"}
    assert project.applied == ["0001"]
    assert project.query("SELECT * FROM users") == []

    project.revision(2, POSTS)
    project.alembic("upgrade", "head")
    assert project.applied == ["0003"]
    assert {"posts", "later"} <= project.tables


def test_a_rebuild_of_the_parent_keeps_its_children(blog: Project) -> None:
    blog.revision(
        2,
        "with op.batch_alter_table('users', recreate='always') as batch:",
        "    batch.drop_column('email')",
    )
    blog.alembic("upgrade", "head")
    assert blog.query("SELECT count(*) FROM posts") == [(3,)]
    assert blog.query("SELECT * FROM users") == [(1,), (2,)]


def test_dangling_foreign_keys_are_not_committed(blog: Project) -> None:
    blog.revision(2, "op.execute('DELETE FROM users WHERE id = 1')")
    with pytest.raises(CommandError, match=r"posts\.user_id of row 1 -> users"):
        blog.alembic("upgrade", "head")
    assert blog.query("SELECT count(*) FROM users") == [(2,)]
    assert blog.applied == ["0001"]


@ENGINES
def test_what_ensure_version_writes_is_committed(project: Project) -> None:
    project.alembic("ensure_version")
    assert "alembic_version" in project.tables


@ENGINES
@pytest.mark.parametrize(
    "command",
    [["check"], ["current"], ["history"], ["history", "-i"], ["revision", "-m", "x"]],
    ids=" ".join,
)
def test_commands_that_only_read_write_nothing(project: Project, command: list[str]) -> None:
    project.alembic(*command)
    assert project.is_untouched  # an empty file would be something, too


# Forward only ------------------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize("target", ["-1", "base", "0001"])
def test_downgrade_is_refused(blog: Project, target: str) -> None:
    blog.revision(2, "op.create_table('later', sa.Column('id', sa.Integer))")
    blog.alembic("upgrade", "head")
    tables = blog.tables
    with pytest.raises(CommandError, match="only go forward"):
        blog.alembic("downgrade", target)
    assert blog.applied == ["0002"]
    assert blog.tables == tables


def test_downgrade_is_refused_before_a_database_is_touched(project: Project) -> None:
    for options in (["base"], ["0001:base", "--sql"]):
        with pytest.raises(CommandError, match="only go forward"):
            project.alembic("downgrade", *options)
    assert project.is_untouched


# Offline -----------------------------------------------------------------------------------


def test_sql_gives_the_same_schema_without_a_database(blog: Project) -> None:
    def schema() -> list[list[str]]:
        rows = blog.query("SELECT sql FROM sqlite_master WHERE name <> 'orm_position' ORDER BY 1")
        # Whatever the indentation.
        return [sql.replace("IF NOT EXISTS ", "").split() for (sql,) in rows if sql]

    def ledger() -> list[tuple[str, str, str]]:
        return blog.query("SELECT revision, name, checksum FROM orm_revisions ORDER BY 1")

    blog.revision(
        2,
        "users = sa.table('users', sa.column('email', sa.String))",
        "op.execute(sa.insert(users).values(email='c'))",
    )
    blog.alembic("upgrade", "head")
    wanted, version, recorded = schema(), blog.applied, ledger()
    assert len(recorded) == 2
    blog.database.rename(blog.folder / "kept.db")
    script = blog.alembic("upgrade", "head", "--sql")
    assert blog.is_untouched
    assert script.count("BEGIN;") == script.count("COMMIT;") == 2  # one transaction a revision
    with closing(sqlite3.connect(blog.database)) as connection:
        connection.executescript(script)
    assert schema() == wanted
    assert blog.applied == version
    assert ledger() == recorded
    blog.alembic("upgrade", "head")  # finds nothing that does not agree
    assert blog.query("SELECT email FROM users") == [("c",)]


# Event loops and connections ---------------------------------------------------------------


@ENGINES
async def test_it_works_inside_a_running_loop(project: Project) -> None:
    project.revision(1, USERS)
    project.alembic("upgrade", "head")
    assert project.applied == ["0001"]
    project.attributes["connection"] = create_async_engine(project.url)
    project.revision(2, POSTS)
    project.alembic("upgrade", "head")
    assert project.applied == ["0002"]


@pytest.fixture
async def migrator(project: Project) -> AsyncIterator[Migrator]:
    """An engine of the project's database, and Alembic on one of its connections."""
    engine = create_async_engine(
        "sqlite+aiosqlite:///app.db", connect_args={"isolation_level": None}
    )
    event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))

    def alembic(connection: Connection, *arguments: str) -> None:
        project.attributes["connection"] = connection
        project.alembic(*arguments)

    yield engine, alembic
    await engine.dispose()


async def test_a_connection_inside_a_running_loop(project: Project, migrator: Migrator) -> None:
    project.revision(1, USERS)
    engine, alembic = migrator
    async with engine.connect() as connection:
        await connection.run_sync(alembic, "upgrade", "head")
    assert project.applied == ["0001"]


async def test_the_transaction_of_a_connection_is_left_to_its_owner(
    project: Project, migrator: Migrator
) -> None:
    project.revision(1, USERS)
    engine, alembic = migrator
    for end in ("rollback", "commit"):
        async with engine.connect() as connection:
            await connection.execute(text("CREATE TABLE mine (id INTEGER)"))
            await connection.run_sync(alembic, "upgrade", "head")
            assert connection.in_transaction()
            await getattr(connection, end)()
        assert ("users" in project.tables) == ("mine" in project.tables) == (end == "commit")


async def test_commands_that_only_read_add_nothing_to_a_transaction(
    project: Project, migrator: Migrator
) -> None:
    engine, alembic = migrator
    async with engine.begin() as connection:
        await connection.run_sync(backend_for(engine.url).prepare)
        for command in ("check", "current", "history"):
            await connection.run_sync(alembic, command)
    assert project.tables == {"orm_position"}


def test_an_async_engine_is_used_and_can_be_used_again(project: Project) -> None:
    project.revision(1, USERS)
    engine = create_async_engine("sqlite+aiosqlite:///given.db")
    project.attributes["connection"] = engine
    project.alembic("upgrade", "head")
    assert project.is_untouched
    assert project.alembic("current") == "0001 (head)\n"


def test_something_else_as_a_connection_is_refused(project: Project) -> None:
    project.attributes["connection"] = create_engine("sqlite:///app.db", poolclass=NullPool)
    with pytest.raises(CommandError, match="not Engine"):
        project.alembic("upgrade", "head")


@ENGINES
def test_nothing_is_left_running(project: Project) -> None:
    before = set(threading.enumerate())
    project.revision(1, "op.execute('?')")
    with pytest.raises(CommandError):
        project.alembic("upgrade", "head")
    project.alembic("current")
    for thread in set(threading.enumerate()) - before:
        thread.join(30)  # a connection's thread ends a moment after the connection
        assert not thread.is_alive()


@ENGINES
def test_the_applications_loggers_stay_as_they_were(project: Project) -> None:
    logger = logging.getLogger("an.application")
    handlers = logging.getLogger().handlers.copy()
    project.alembic("upgrade", "head")
    assert not logger.disabled
    assert logging.getLogger().handlers == handlers
