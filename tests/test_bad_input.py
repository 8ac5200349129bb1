"""What is wrong is refused by an error of ours that says so, and nothing hangs or leaks."""

import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, literal, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.types import NullType

from models import User
from orm import (
    Bookmark,
    BookmarkSession,
    Database,
    InvalidBookmark,
    OrmError,
    Reason,
    Replica,
    WriteLost,
)
from orm.exceptions import (
    ConfigurationError,
    DatabaseClosed,
    ForeignBookmark,
    ReplicaUnavailable,
)
from orm.telemetry import log_routes, opentelemetry, prometheus
from orm.testing import paused
from orm.web import BookmarkCookie, BookmarkMiddleware, health, lifespan, status_page
from tests.conftest import MySQL, head, is_between


@pytest.mark.parametrize(
    "constraint", ["", "first-replica", "x" * 5000, "v1.AAAA", 5, ["v1."], b"v1."]
)
async def test_garbage_is_no_constraint_and_touches_no_database(db, constraint, statements) -> None:
    statements.clear()
    with pytest.raises(InvalidBookmark, match="first-primary"):
        db.session(constraint)
    assert statements == []


async def test_forged_signature_is_refused(servers) -> None:
    async with servers.migrated(bookmark_keys=["secret"]) as db:
        async with db.session() as session:
            token = await session.bookmark()
        db.session(token)
        with pytest.raises(InvalidBookmark, match="signature"):
            db.session(token[:-4] + "AAAA")


async def test_foreign_bookmark_reads_from_the_primary(db: Database) -> None:
    async with paused(db):
        async with db.begin() as writer:
            writer.add(User(email="new"))
        before = await head(db)
        async with db.session(Bookmark.at("elsewhere", 10**9)) as session:
            assert await session.scalar(select(User.email)) == "new"
            assert session.last_route and session.last_route.reason is Reason.STRAY_BOOKMARK
            await session.rollback()
            assert await session.scalar(select(User.email)) == "new"
            await is_between(before.encode(), await session.bookmark(), db)


async def test_foreign_bookmark_is_refused_if_so_wished(servers) -> None:
    async with servers.migrated(stray_bookmarks="error") as db:
        with pytest.raises(ForeignBookmark):
            db.session(Bookmark.at("elsewhere", 1))


async def test_bookmarks_of_two_databases_do_not_merge(db: Database) -> None:
    with pytest.raises(ForeignBookmark):
        db.session([await head(db), Bookmark.at("elsewhere", 1)])


async def future(db: Database) -> Bookmark:
    now = await head(db)
    return Bookmark.at(now.history, now.position[0][1] + 10**9)


async def test_bookmark_from_the_future_neither_hangs_nor_is_believed(servers) -> None:
    async with servers.migrated(max_wait=3600) as db:
        before = await head(db)
        async with db.session(await future(db)) as session:
            await session.scalars(select(User))
            assert session.last_route and session.last_route.reason is Reason.STRAY_BOOKMARK
            await is_between(before.encode(), await session.bookmark(), db)


async def test_write_under_a_bookmark_from_the_future_hands_out_what_it_wrote(db) -> None:
    async with db.session(await future(db)) as session:
        before = await head(db)
        session.add(User(email="a"))
        await session.commit()
        assert not before.covers(Bookmark.decode(await session.bookmark()))
        await is_between(before.encode(), await session.bookmark(), db)


async def test_bookmark_from_the_future_is_a_lost_write_if_so_wished(servers) -> None:
    async with servers.migrated(stray_bookmarks="error") as db:
        async with db.session(await future(db)) as session:
            with pytest.raises(WriteLost):
                await session.scalars(select(User))
        async with db.session(await future(db)) as session:
            with pytest.raises(WriteLost):
                await session.execute(insert(User).values(email="a"))


async def test_signed_bookmark_from_the_future_is_a_lost_write(servers) -> None:
    key = b"secret"
    async with servers.migrated() as db:
        token = (await future(db)).encode([key])
    async with servers.database(bookmark_keys=[key]) as db, db.session(token) as session:
        with pytest.raises(WriteLost):
            await session.scalars(select(User))


async def test_write_lost_is_said_before_anything_is_written(servers) -> None:
    async with servers.migrated(stray_bookmarks="error") as db:
        async with db.session(await future(db)) as session:
            session.add(User(email="a"))
            with pytest.raises(WriteLost):
                await session.commit()
        async with db.session("first-primary") as session:
            assert await session.scalar(select(User.id)) is None


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("not a url", {}, "not a database URL"),
        ("sqlite:///app.db", {}, "aiosqlite"),
        ("sqlite+aiosqlite://", {}, "plain path"),
        ("sqlite+aiosqlite:///:memory:", {"replicas": 1}, "plain path"),
        ("sqlite+aiosqlite:///file:app.db?uri=true", {}, "plain path"),
        ("nosuch+driver:///x", {}, "no backend"),
        ("sqlite+aiosqlite:////nosuch/folder/app.db", {}, "folder"),
        ("postgresql+asyncpg://host:port/app", {}, "not a database URL: .*'port'"),
        ("postgresql+asyncpg://host:65536/app", {}, "names port 65536: the highest one is 65535"),
        ("postgresql+psycopg://u:p@ss@host/app", {}, "an @ in its user name or password: write %4"),
        ("sqlite+aiosqlite:///app.db", {"max_wait": -1}, "max_wait"),
        ("sqlite+aiosqlite:///app.db", {"fallback": "false"}, "fallback is True or False, and not"),
        ("postgresql+asyncpg://h/d", {"shared": "no"}, "shared is True or False, and not 'no'"),
        ("sqlite+aiosqlite:///app.db", {"zones": [1]}, "a zone of zones is a text, and not 1"),
        ("sqlite+aiosqlite:///app.db", {"engine_options": ["echo"]}, "engine_options is a dict of"),
        ("sqlite+aiosqlite:///app.db", {"engine_options": {"ecoh": True}}, "engine_opt.*'ecoh'"),
        ("sqlite+aiosqlite:///app.db", {"engine_options": {1: True}}, "^1 in engine_options is no"),
        ("sqlite+aiosqlite:///app.db", {"engine_options": {"url": "x"}}, "'url' in engine_options"),
        ("sqlite+aiosqlite:///app.db", {"engine_options": {"poolclass": "x"}}, "poolclass in eng"),
        (
            "sqlite+aiosqlite:///app.db",
            {"engine_options": {"execution_options": 5}},
            "execution_options in engine_options is a dict",
        ),
        ("sqlite+aiosqlite:///app.db", {"replicas": -1}, "replicas"),
        (
            "sqlite+aiosqlite:///app.db",
            {"replicas": 2.5},
            "replicas is a whole number, 0 or more, or",
        ),
        ("sqlite+aiosqlite:///app.db", {"replicas": True}, "and not True"),
        ("sqlite+aiosqlite:///app.db", {"replicas": 65}, "replicas is 64 at most, and not 65"),
        ("sqlite+aiosqlite:///app.db", {"replicas": None}, "replicas is a list, and not None"),
        ("sqlite+aiosqlite:///app.db", {"max_wait": "1"}, "max_wait is a number of seconds, 0 or"),
        ("sqlite+aiosqlite:///app.db", {"max_wait": None}, "and not None"),
        ("sqlite+aiosqlite:///app.db", {"max_wait": float("nan")}, "and not nan"),
        ("sqlite+aiosqlite:///app.db", {"max_wait": timedelta(1)}, "and not datetime.timedelta"),
        ("sqlite+aiosqlite:///app.db", {"max_staleness": "5"}, "max_staleness is a number of sec"),
        ("sqlite+aiosqlite:///app.db", {"connect_timeout": 0}, "connect_timeout is .* over 0, and"),
        (
            "sqlite+aiosqlite:///app.db",
            {"dead_after": "1"},
            "dead_after is a number of seconds, ov",
        ),
        ("sqlite+aiosqlite:///app.db", {"zones": 1}, "zones is a list, and not 1"),
        ("sqlite+aiosqlite:///app.db", {"replicas": ["postgresql+asyncpg://h/d"]}, "family"),
        ("sqlite+aiosqlite:///app.db", {"stray_bookmarks": "ignore"}, "stray_bookmarks"),
        ("sqlite+aiosqlite:///app.db", {"replicas": "2"}, "replicas is a list"),
        ("sqlite+aiosqlite:///app.db", {"zones": "eu"}, "zones is a list"),
        ("sqlite+aiosqlite:///app.db", {"bookmark_keys": "secret"}, "bookmark_keys is a list"),
        ("sqlite+aiosqlite:///app.db", {"bookmark_keys": b"secret"}, "bookmark_keys is a list"),
        ("sqlite+aiosqlite:///app.db", {"bookmark_keys": ["new", ""]}, "is empty: give random"),
        ("sqlite+aiosqlite:///app.db", {"bookmark_keys": [None]}, "is of type NoneType"),
        (
            "sqlite+aiosqlite:///app.db",
            {"engine_options": {"async_creator": object()}},
            "async_creator would open each file in one way",
        ),
    ],
)
def test_impossible_database_is_refused(url: str, options, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Database(url, **options)


def test_a_weight_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match="weight of a replica is a number over 0, and not"):
        Replica("sqlite+aiosqlite:///app.db", weight="2")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [5, ""])
@pytest.mark.parametrize("what", ["name", "zone"])
def test_the_name_and_the_zone_of_a_replica_are_texts(what: str, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"the {what} of a replica is a text, and not"):
        Replica("sqlite+aiosqlite:///app.db", **{what: given})


async def test_arguments_of_a_call_are_of_their_kind(db: Database) -> None:
    async def nothing(_: object) -> None: ...

    no: Any = "no"
    with pytest.raises(ConfigurationError, match="idempotent is True or False, and not 'no'"):
        await db.run(nothing, idempotent=no)
    with pytest.raises(ConfigurationError, match="read_only is True or False, and not 'no'"):
        await db.run(nothing, read_only=no)
    for observer in (None, nothing):
        given: Any = observer
        with pytest.raises(ConfigurationError, match="observer is a function that is not async"):
            db.observe(given)
    for class_ in (5, int):
        given = class_
        with pytest.raises(ConfigurationError, match="class_ is a class derived from AsyncSession"):
            db.sessionmaker(class_=given)


@pytest.mark.parametrize(
    "made",
    [health, lifespan, status_page, log_routes, opentelemetry.instrument, prometheus.export],
)
def test_a_url_is_no_database(made: Any) -> None:
    with pytest.raises(ConfigurationError, match="database is a Database, and not 'sqlite"):
        made("sqlite+aiosqlite:///app.db")


def test_what_is_given_to_the_web_is_of_its_kind(tmp_path: Path) -> None:
    anything: Any = "x"
    unstarted = Database(f"sqlite+aiosqlite:///{tmp_path}/app.db")
    with pytest.raises(ConfigurationError, match="guard is an async function"):
        status_page(unstarted, guard=anything)
    with pytest.raises(ConfigurationError, match="level is a number, such as"):
        log_routes(unstarted, anything)
    with pytest.raises(ConfigurationError, match="the name of a cookie is a text, and not 5"):
        BookmarkCookie(name=5)  # type: ignore[arg-type]
    wrong = BookmarkMiddleware(anything, anything).mistake
    assert str(wrong) == "database is a Database, and not 'x'"
    wrong = BookmarkMiddleware(anything, unstarted, cookie=anything).mistake
    assert str(wrong) == "cookie is a BookmarkCookie, and not 'x'"


async def test_seconds_of_a_call_are_a_number(db: Database) -> None:
    async def nothing(_: BookmarkSession) -> None: ...

    soon: Any = "soon"
    with pytest.raises(ConfigurationError, match="retry_for is a number of seconds, 0 or more"):
        await db.run(nothing, retry_for=soon)
    with pytest.raises(ConfigurationError, match="drain is a number of seconds, 0 or more"):
        await db.remove_replica("replica-1", drain=soon)
    with pytest.raises(ConfigurationError, match="max_staleness is a number of seconds"):
        db.session(max_staleness=soon)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql+asyncpg://h/d", "asyncpg"),
        ("postgresql+psycopg://h/d", "psycopg"),
        ("mariadb+asyncmy://h/d", "asyncmy"),
        ("mysql+aiomysql://h/d", "aiomysql"),
    ],
)
def test_a_driver_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, driver: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, "orm.backends.postgresql.asyncpg_pool", raising=False)
    with pytest.raises(ConfigurationError, match=rf"pip install 'bookmark-orm\[{driver}\]'"):
        Database(url)


@pytest.mark.embedded
async def test_replica_that_cannot_be_opened_is_refused(servers) -> None:
    missing = f"sqlite+aiosqlite:///{servers.folder}/missing.db"
    with pytest.raises(ReplicaUnavailable, match=r"replica-1 .*missing\.db.*unable to open"):
        await Database(servers.url, replicas=[missing]).start()


@pytest.mark.embedded
async def test_replica_that_is_no_database_is_refused(servers) -> None:
    (servers.folder / "text.db").write_text("no database at all " * 100)
    url = f"sqlite+aiosqlite:///{servers.folder}/text.db"
    with pytest.raises(ReplicaUnavailable, match="not a database"):
        await Database(servers.url, replicas=[url]).start()


@pytest.mark.embedded
async def test_replica_without_a_position_serves_no_session(servers) -> None:
    with closing(sqlite3.connect(servers.folder / "empty.db")) as connection:
        connection.execute("CREATE TABLE users (id INTEGER)")
    empty = f"sqlite+aiosqlite:///{servers.folder}/empty.db"
    async with servers.migrated(replicas=[empty]) as db, db.session() as session:
        assert await session.scalar(select(User.email)) is None
        assert session.last_route and session.last_route.reason is Reason.FALLBACK
        assert [server.behind for server in await db.status()] == [0, None]


@pytest.mark.parametrize("loss", ["DROP TABLE orm_position", "DELETE FROM orm_position"])
@pytest.mark.embedded
async def test_primary_that_lost_its_position_says_so(servers, loss: str) -> None:
    async with servers.migrated() as db:
        with closing(sqlite3.connect(servers.folder / "app.db")) as past_us, past_us:
            past_us.execute(loss)
        async with db.session("first-primary") as session:
            await session.scalars(select(User))
            with pytest.raises(ConfigurationError, match="has lost its position"):
                await session.bookmark()


async def test_value_that_no_driver_takes_is_sqlalchemys_error(servers, db: Database) -> None:
    if isinstance(servers, MySQL):
        pytest.skip("its drivers take any value, as text")
    async with db.session() as session:
        with pytest.raises(DBAPIError) as raised:
            await session.scalar(select(User.email).where(User.id == literal(object(), NullType())))
        assert not hasattr(raised.value, "__notes__")  # of migrations, say


@pytest.mark.embedded
async def test_replica_of_another_database_is_refused(servers, tmp_path_factory) -> None:
    other = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('other')}/app.db"
    async with Database(other):
        with pytest.raises(ConfigurationError, match="another database"):
            await Database(servers.url, replicas=[other]).start()


@pytest.mark.embedded
async def test_primary_that_cannot_be_opened_is_sqlalchemys_error(servers) -> None:
    (servers.folder / "app.db").write_text("no database at all " * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        await servers.database().start()


async def test_database_that_is_not_migrated_says_what_to_do(servers) -> None:
    async with servers.database() as db, db.session() as session:
        for write in (False, True):
            with pytest.raises(DBAPIError, match="users") as caught:
                await session.execute(insert(User) if write else select(User))
            hint = "migrated" if isinstance(servers, MySQL) else "orm migrations apply"
            assert hint in "\n".join(caught.value.__notes__)


async def test_database_is_used_between_start_and_close(servers) -> None:
    db = servers.database()
    with pytest.raises(DatabaseClosed, match="async with"):
        db.session()
    async with db:
        session = db.session()
        with pytest.raises(DatabaseClosed, match="started already"):
            await db.start()
    with pytest.raises(DatabaseClosed, match="closed"):
        db.session()
    with pytest.raises(DatabaseClosed, match="closed"):
        await session.scalars(select(User))
    with pytest.raises(DatabaseClosed, match="closed"):
        await db.status()
    await session.close()
    await db.close()


async def test_route_is_read_or_primary(db: Database) -> None:
    async with db.session() as session:
        with pytest.raises(ConfigurationError, match="route"):
            await session.execute(select(User), execution_options={"route": "replica"})


async def test_statement_wrongly_marked_as_a_read_is_refused_by_the_server(db: Database) -> None:
    async with db.session() as session:
        with pytest.raises(OrmError, match="read-only server"):
            await session.execute(text("DELETE FROM users"), execution_options={"route": "read"})


async def test_session_without_a_database_has_no_bookmark(db: Database) -> None:
    async with BookmarkSession(db.cluster.writer) as session:
        with pytest.raises(OrmError, match="no Database"):
            await session.bookmark()
        with pytest.raises(OrmError, match="no Database"):
            await session.begin(read_only=True)
        assert session.last_route is None
    with pytest.raises(ConfigurationError):
        BookmarkSession(db.cluster.writer, database=db)
    with pytest.raises(ConfigurationError):
        BookmarkSession(constraint="first-primary")
