"""What a session guarantees: where it starts, where it reads, what it never does."""

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, func, insert, select, text, union_all, update
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from models import Post, User
from orm import Bookmark, BookmarkSession, Database, NotCaughtUp, Reason
from orm.exceptions import ConfigurationError
from orm.servers.timing import POLL, jitter
from orm.testing import caught_up, followers, paused, replicas
from tests.conftest import is_between


async def add_user(session: BookmarkSession, email: str) -> None:
    session.add(User(email=email))
    await session.commit()


async def emails(session: BookmarkSession) -> set[str]:
    found = set(await session.scalars(select(User.email)))
    await session.rollback()
    return found


def served_by(session: BookmarkSession) -> str:
    assert session.last_route is not None
    return session.last_route.role


# Starts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("constraint", [None, "first-unconstrained", []])
async def test_unconstrained_session_starts_on_a_replica(db: Database, constraint: object) -> None:
    async with paused(db), db.begin() as session:
        session.add(User(email="new"))
    async with paused(db), db.session(constraint) as session:
        await emails(session)
        assert served_by(session) == "replica"


async def test_unconstrained_session_may_read_the_past(db: Database) -> None:
    async with paused(db):
        async with db.begin() as writer:
            writer.add(User(email="new"))
        async with db.session() as session:
            assert await emails(session) == set()


async def test_first_primary_session_reads_the_present(db: Database) -> None:
    async with paused(db):
        async with db.begin() as writer:
            writer.add(User(email="new"))
        async with db.session("first-primary") as session:
            assert await emails(session) == {"new"}
            assert session.last_route and session.last_route.reason is Reason.FIRST_PRIMARY


async def test_first_primary_is_about_the_first_transaction_only(servers) -> None:
    # What was read on the primary may be ahead of the replicas, for longer than `max_wait`.
    async with servers.migrated(max_wait=60) as db, db.session("first-primary") as session:
        await emails(session)
        await emails(session)
        assert served_by(session) == "replica"


async def test_first_primary_is_over_with_a_write(db: Database) -> None:
    async with db.session("first-primary") as session:
        session.add(User(email="ada"))
        await session.commit()
        await caught_up(db)
        await emails(session)
        assert served_by(session) == "replica"


async def test_empty_transaction_is_not_the_first_one(db: Database) -> None:
    async with db.session("first-primary") as session:
        await session.commit()
        await emails(session)
        assert served_by(session) == "primary"


async def test_session_from_a_bookmark_sees_what_the_first_one_wrote(db: Database) -> None:
    async with paused(db):
        async with db.session() as first:
            await add_user(first, "new")
            token = await first.bookmark()
        async with db.session(token) as second:
            assert await emails(second) == {"new"}


async def test_session_from_a_bookmark_is_served_by_a_replica_that_has_it(db: Database) -> None:
    async with db.session() as first:
        await add_user(first, "new")
        token = await first.bookmark()
    await caught_up(db)
    async with db.session(token) as second:
        assert await emails(second) == {"new"}
        assert served_by(second) == "replica"


async def test_session_from_several_bookmarks_sees_all_of_them(db: Database) -> None:
    async with paused(db):
        tokens = []
        for email in ("one", "two"):
            async with db.session() as writer:
                await add_user(writer, email)
                tokens.append(await writer.bookmark())
        async with db.session(reversed(tokens)) as session:
            assert await emails(session) == {"one", "two"}


async def test_bookmark_holds_in_another_process(servers, db: Database) -> None:
    async with servers.elsewhere() as other:
        await caught_up(other)  # with its floor
        async with paused(db):
            async with db.session() as first:
                await add_user(first, "new")
                token = await first.bookmark()
            async with other.session() as unlinked, other.session(token) as linked:
                assert await emails(unlinked) == set()
                assert await emails(linked) == {"new"}


async def test_database_started_after_a_write_never_reads_from_before_it(servers, db) -> None:
    async with paused(db):
        async with db.begin() as writer:
            await writer.execute(text("ALTER TABLE users ADD COLUMN nickname TEXT"))
        async with servers.elsewhere() as other, other.session() as session:
            nickname = select(text("nickname")).select_from(User)
            await session.scalars(nickname, execution_options={"route": "read"})
            assert served_by(session) == "primary"


async def test_bookmark_from_before_the_start_is_no_way_into_the_past(servers, db) -> None:
    async with db.session() as session:
        token = await session.bookmark()
    async with paused(db):
        async with db.begin() as writer:
            writer.add(User(email="new"))
        async with servers.elsewhere() as other, other.session(token) as session:
            assert await emails(session) == {"new"}


# One transaction, one server ---------------------------------------------------------------


async def test_session_reads_its_own_write(db: Database) -> None:
    async with paused(db), db.session() as session:
        await add_user(session, "mine")
        assert await emails(session) == {"mine"}
        assert session.last_route and session.last_route.reason is Reason.FALLBACK


async def test_replicas_take_turns_between_sessions(db: Database) -> None:
    missing = {"replica-1", "replica-2"}
    async with asyncio.timeout(200):
        while missing:  # the one that was slower has less of the reads
            async with db.session() as session:
                await emails(session)
                assert session.last_route
                missing.discard(session.last_route.server)


async def test_transaction_stays_on_its_replica(db: Database) -> None:
    async with db.session() as session:
        await session.scalars(select(User))
        first = session.last_route
        for _ in range(3):
            await session.scalars(select(Post))
            assert session.last_route is first


async def test_concurrent_reads_of_one_session_never_read_from_two_servers(db: Database) -> None:
    one, two = followers(db)
    await two.pause()
    async with db.begin() as writer:
        writer.add(User(email="a"))
    await one.caught_up()
    for _ in range(2):  # whichever server's turn it is
        async with db.session() as session:
            reads = (session.scalar(select(func.count(User.id))) for _ in range(4))
            outcomes = await asyncio.gather(*reads, return_exceptions=True)
            counts = [outcome for outcome in outcomes if isinstance(outcome, int)]
            assert counts and len(set(counts)) == 1
            for outcome in outcomes:
                assert isinstance(outcome, int | InvalidRequestError)
            assert await session.scalar(select(func.count(User.id))) == counts[0]
    await two.resume()


async def test_session_stays_on_its_replica_between_transactions(db: Database) -> None:
    async with db.session() as session:
        servers = set()
        for _ in range(4):
            await emails(session)
            assert session.last_route
            servers.add(session.last_route.server)
        assert len(servers) == 1


@pytest.mark.parametrize(
    "statement",
    [
        insert(User).values(email="x"),
        update(User).values(email="x").where(User.id < 0),
        select(User).with_for_update(),
        select(insert(User).values(email="x").returning(User.id).cte()),
        text("SELECT 1"),
        select(func.frobnicate()),
        select(User.id).where(text("1 = 1")),
    ],
    ids=["insert", "update", "for update", "dml cte", "text", "function", "text inside"],
)
async def test_what_may_write_goes_to_the_primary(db: Database, statement) -> None:
    async with db.session() as session:
        with suppress(DBAPIError):  # SQLite knows no DML in a CTE, and no engine that function
            await session.execute(statement)
        assert served_by(session) == "primary"
        await session.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        select(User),
        select(User.id).where(User.posts.any()),
        union_all(select(User), select(User)),
        select(func.count()).select_from(User),
        User.__table__.select(),
    ],
    ids=["entity", "columns", "union of entities", "count", "core"],
)
async def test_plain_read_goes_to_a_replica(db: Database, statement) -> None:
    async with db.session() as session:
        await session.execute(statement)
        assert served_by(session) == "replica"


async def test_mistake_in_a_read_is_no_fault_of_its_replica(db: Database) -> None:
    async with db.session() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT nonsense"), execution_options={"route": "read"})
        assert served_by(session) == "replica"
        assert {status.error for status in db.last_status()} == {None}


async def test_transaction_moves_to_the_primary_when_it_writes_and_stays(db: Database) -> None:
    async with paused(db), db.session() as session:
        assert list(await session.scalars(select(User))) == []
        assert served_by(session) == "replica"
        session.add(User(email="mine"))
        assert await session.scalar(select(User.email)) == "mine"  # after the autoflush
        assert served_by(session) == "primary"
        assert await session.scalar(select(func.count(User.id))) == 1
        assert served_by(session) == "primary"


async def test_transaction_that_wrote_by_text_reads_its_write(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("INSERT INTO users (email) VALUES ('mine')"))
        assert await session.scalar(select(User.email)) == "mine"


async def test_explicit_begin_is_on_the_primary(db: Database) -> None:
    async with paused(db), db.session() as session, session.begin():
        await session.scalars(select(User))
        assert served_by(session) == "primary"


async def test_savepoint_is_on_the_primary(db: Database) -> None:
    async with db.session() as session:
        await session.scalars(select(User))
        async with session.begin_nested():
            await session.scalars(select(User))
            assert served_by(session) == "primary"


@pytest.mark.parametrize("several", [False, True])
async def test_merge_decides_on_the_primary(db: Database, several: bool) -> None:
    async with db.begin() as writer:
        writer.add(User(id=1, email="old"))
    await caught_up(db)
    async with paused(db), db.session() as session:
        async with db.begin() as writer:
            await writer.execute(update(User).values(email="new"))
        if several:
            (merged,) = await session.merge_all([User(id=1)])
        else:
            merged = await session.merge(User(id=1))
        assert merged.email == "new"
        assert served_by(session) == "primary"


@pytest.mark.parametrize("several", [False, True])
async def test_delete_decides_on_the_primary(db: Database, several: bool) -> None:
    class Local(AsyncAttrs, DeclarativeBase):
        """Without passive_deletes: the children are loaded to be deleted one by one."""

    class Parent(Local):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        children: Mapped[list["Child"]] = relationship(cascade="all, delete-orphan")

    class Child(Local):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))

    Local.registry.configure()
    async with db.connect() as connection:
        await connection.run_sync(Local.metadata.create_all)
        await connection.execute(insert(Parent).values(id=1))
        await connection.commit()
    await caught_up(db)
    async with paused(db), db.session() as session:
        parent = await session.get_one(Parent, 1)
        async with db.begin() as other:
            other.add(Child(parent_id=1))
        if several:
            await session.delete_all([parent])
        else:
            await session.delete(parent)
        assert served_by(session) == "primary"
        await session.commit()


async def test_rows_that_an_update_looks_for_first_are_looked_for_on_the_primary(db) -> None:
    class Local(AsyncAttrs, DeclarativeBase):
        """Without RETURNING, `synchronize_session="fetch"` sends a SELECT before the UPDATE."""

    class Item(Local):
        __tablename__ = "items"
        __table_args__ = {"implicit_returning": False}
        id: Mapped[int] = mapped_column(primary_key=True)
        state: Mapped[str] = mapped_column(String(20))

    async with db.begin() as writer:
        await (await writer.connection()).run_sync(Local.metadata.create_all)
        writer.add(Item(id=1, state="old"))
    await caught_up(db)
    async with paused(db), db.session() as session:
        item = await session.get_one(Item, 1)
        await session.rollback()
        async with db.begin() as writer:
            await writer.execute(update(Item).values(state="new"))
        await session.refresh(item)
        assert item.state == "old"
        newest = update(Item).where(Item.state == "new").values(state="newest")
        await session.execute(newest, execution_options={"synchronize_session": "fetch"})
        assert await item.awaitable_attrs.state == "newest"


@pytest.mark.parametrize("how", ["statement", "call", "scalar", "scalars", "session"])
async def test_route_can_be_said(db: Database, how: str) -> None:
    async def route(wish: str, statement) -> str:
        options = {"route": wish}
        async with db.session(execution_options=options if how == "session" else {}) as session:
            match how:
                case "call":
                    await session.execute(statement, execution_options=options)
                case "scalar":
                    await session.scalar(statement, execution_options=options)
                case "scalars":
                    await session.run_sync(
                        lambda s: s.scalars(statement, execution_options=options)
                    )
                case "statement":
                    await session.execute(statement.execution_options(**options))
                case "session":
                    await session.execute(statement)
            return served_by(session)

    assert await route("read", text("SELECT 1")) == "replica"
    assert await route("primary", select(User)) == "primary"


async def test_session_that_binds_something_itself_is_left_alone(db: Database) -> None:
    engine = db.cluster.primary.engine.sync_engine
    async with paused(db):
        async with db.begin() as writer:
            writer.add(User(email="a"))
        async with db.session() as session:
            found = await session.scalar(select(User.email), bind_arguments={"bind": engine})
            assert (found, session.last_route) == ("a", None)


async def test_session_with_a_database_takes_no_binds(db: Database) -> None:
    engine = db.cluster.primary.engine.sync_engine
    async with db.session() as session:
        for bind in (
            lambda: session.sync_session.bind_mapper(User, engine),
            lambda: session.sync_session.bind_table(User.__table__, engine),
        ):
            with pytest.raises(ConfigurationError, match="a Database or binds, not both"):
                bind()


async def test_bind_asked_for_outside_any_statement_is_the_primary(db: Database) -> None:
    async with db.session() as session:
        assert session.get_bind(clause=select(User)) is db.cluster.writer.sync_engine
        assert session.get_async_bind() is db.cluster.writer


@pytest.mark.embedded
async def test_two_phase_session_is_on_the_primary(db: Database) -> None:
    async with db.session(twophase=True) as session:
        with pytest.raises(NotImplementedError):  # SQLite has none
            await session.scalars(select(User))
        assert served_by(session) == "primary"


async def test_closed_session_starts_afresh(db: Database) -> None:
    async with db.begin() as writer:
        writer.add(User(id=1, email="a"))
    async with db.session("first-primary") as session:
        user = await session.get_one(User, 1)
        await session.rollback()
        await session.delete(user)  # may write from here on
        await session.close()
        await caught_up(db)
        assert await session.scalar(select(User.email)) == "a"
        assert served_by(session) == "replica"


@pytest.mark.embedded
async def test_writer_that_does_not_come_is_explained(servers) -> None:
    async with servers.migrated(engine_options={"pool_timeout": 0.05}) as db:
        async with db.session() as one, db.session() as two:
            await one.execute(text("SELECT 1"))
            with pytest.raises(PoolTimeout) as raised:
                await two.execute(text("SELECT 1"))
    assert "route='read'" in "".join(raised.value.__notes__)


# Bookmarks ---------------------------------------------------------------------------------


async def test_commit_moves_the_bookmark(db: Database) -> None:
    async with db.session() as session:
        before = await session.bookmark()
        await add_user(session, "a")
        assert await session.bookmark() != before


async def test_ddl_moves_the_bookmark(db: Database) -> None:
    async with db.session() as session:
        before = await session.bookmark()
        await session.execute(text("CREATE TABLE extra (id INTEGER)"))
        await session.commit()
        assert await session.bookmark() != before


async def test_session_starts_with_the_bookmark_it_was_given(db: Database) -> None:
    async with db.session() as session:
        await add_user(session, "a")
        token = await session.bookmark()
    async with db.session(token) as session:
        assert await session.bookmark() == token


@pytest.mark.embedded
async def test_what_changes_nothing_moves_nothing(db: Database) -> None:
    async with paused(db), db.session("first-primary") as session:
        before = await session.bookmark()
        await session.execute(insert(User).values(email="undone"))
        await session.rollback()
        assert await session.bookmark() == before
        await session.execute(text("SELECT 1"))
        await session.commit()
        assert await session.bookmark() == before


@pytest.mark.embedded
async def test_release_of_a_savepoint_is_no_commit(db: Database) -> None:
    async with db.session() as session:
        before = await session.bookmark()
        async with session.begin_nested():
            session.add(User(email="a"))
        assert await session.bookmark() == before
        await session.rollback()
        assert await session.bookmark() == before
        async with session.begin_nested():
            session.add(User(email="a"))
        await session.commit()
        assert await session.bookmark() != before


async def test_backend_is_asked_for_a_position_after_a_commit_only(db, monkeypatch) -> None:
    asked = []
    backend = type(db.cluster.backend)
    committed = backend.committed
    monkeypatch.setattr(backend, "committed", lambda *a, **k: asked.append(a) or committed(*a, **k))
    async with db.session() as session:
        async with session.begin_nested():
            session.add(User(email="a"))
        assert asked == []
        await session.commit()
        assert len(asked) == 1


@pytest.mark.embedded
async def test_failed_commit_moves_nothing_and_is_not_replayed(db: Database) -> None:
    async with db.session() as session:
        await add_user(session, "a")
        before = await session.bookmark()
        session.add(User(email="a"))
        with pytest.raises(Exception, match=r"(?i)unique"):
            await session.commit()
        await session.rollback()
        assert await session.bookmark() == before


async def test_reading_moves_the_bookmark_to_what_was_seen(db: Database) -> None:
    async with db.session() as reader:
        before = await reader.bookmark()
        async with db.session() as writer:
            await add_user(writer, "a")
            wrote = await writer.bookmark()
        await caught_up(db)
        assert await emails(reader) == {"a"}
        seen = await reader.bookmark()
        assert not Bookmark.decode(before).covers(Bookmark.decode(seen))
        await is_between(wrote, seen, db)


async def test_bookmark_of_an_open_transaction_covers_what_it_has_read(db: Database) -> None:
    async with db.session() as writer:
        await add_user(writer, "a")
        wrote = await writer.bookmark()
    for constraint in ("first-primary", "first-unconstrained"):
        await caught_up(db)
        async with db.session(constraint) as reader:
            assert await reader.scalar(select(User.email)) == "a"
            await is_between(wrote, await reader.bookmark(), db)


@pytest.mark.parametrize("how", ["statement", "connection"])
async def test_bookmark_covers_what_is_read_after_an_earlier_one(db: Database, how: str) -> None:
    statement = select(func.count(User.id))
    async with db.session(execution_options={"route": "read"}) as reader:
        connection = await reader.connection() if how == "connection" else reader
        assert await connection.scalar(statement) == 0
        await reader.bookmark()
        async with db.session() as writer:
            await add_user(writer, "a")
            wrote = await writer.bookmark()
        await caught_up(db)
        assert await connection.scalar(statement) == 1  # in the same transaction
        await is_between(wrote, await reader.bookmark(), db)


@pytest.mark.parametrize("ended", [False, True])
async def test_bookmark_covers_what_is_read_before_and_after_a_move(db: Database, ended) -> None:
    async with db.session("first-primary") as session:
        assert await session.scalar(select(func.count(User.id))) == 0
        async with db.session() as writer:
            await add_user(writer, "a")
            wrote = Bookmark.decode(await writer.bookmark())
        assert await session.scalar(text("SELECT count(*) FROM users")) == 1  # on the writer
        if ended:
            await session.rollback()
        assert Bookmark.decode(await session.bookmark()).covers(wrote)


@pytest.mark.embedded
async def test_bookmark_covers_what_is_read_past_sqlalchemy(db: Database) -> None:
    async with db.session(execution_options={"route": "read"}) as reader:
        connection = await reader.connection()
        assert await connection.scalar(select(func.count(User.id))) == 0
        async with db.session() as writer:
            await add_user(writer, "a")
            wrote = Bookmark.decode(await writer.bookmark())
        await caught_up(db)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert [*await driver.execute_fetchall("SELECT count(*) FROM users")] == [(1,)]
        await reader.rollback()
        assert Bookmark.decode(await reader.bookmark()).covers(wrote)


@pytest.mark.embedded
async def test_bookmark_during_a_write_does_not_cover_it(db: Database) -> None:
    async with db.session() as session:
        before = await session.bookmark()
        session.add(User(email="a"))
        await session.flush()
        assert await session.bookmark() == before


async def test_bookmark_during_a_write_needs_no_second_connection(servers) -> None:
    crowded = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30}
    async with servers.migrated(replicas=0, engine_options=crowded) as db:
        async with db.session() as reader, db.begin() as writer:
            await reader.scalars(select(User))  # holds the one reader
            await writer.scalars(select(User))
            await writer.bookmark()


# Waiting and falling back ------------------------------------------------------------------


@pytest.mark.embedded
async def test_read_waits_for_a_replica_that_catches_up(servers) -> None:
    async with servers.migrated(max_wait=60) as db, db.session() as session:
        async with paused(db):
            await add_user(session, "a")
            reading = asyncio.create_task(emails(session))
            async with asyncio.timeout(30):
                while not db.cluster.watcher.waiting:  # noqa: ASYNC110 - it tells of no beginning
                    await asyncio.sleep(0.01)
        assert await reading == {"a"}
        route = session.last_route
        assert route and route.role == "replica" and route.reason is Reason.WAITED
        assert 0 < route.waited < 60


async def test_wait_is_bounded_and_then_the_primary_serves(servers) -> None:
    async with servers.migrated(max_wait=0.05) as db, paused(db), db.session() as session:
        await add_user(session, "a")
        began = monotonic()
        assert await emails(session) == {"a"}
        took = monotonic() - began
        route = session.last_route
        assert route and route.role == "primary"
        # The read's time begins before the read finds that it must wait.
        assert 0 < route.waited <= took and took >= 0.05


async def test_replica_that_stands_still_is_waited_for_once(servers) -> None:
    async with servers.migrated(max_wait=0.05) as db, paused(db), db.session() as session:
        await add_user(session, "a")
        await emails(session)
        await emails(session)
        assert session.last_route and session.last_route.waited == 0
        assert served_by(session) == "primary"


async def test_max_wait_0_does_not_wait(servers) -> None:
    async with servers.migrated(max_wait=0) as db, paused(db), db.session() as session:
        await add_user(session, "a")
        await emails(session)
        assert session.last_route and session.last_route.waited == 0


async def test_waiting_readers_share_their_probes(servers, statements) -> None:
    patient = {"pool_timeout": 60}
    async with servers.migrated(max_wait=0.2, engine_options=patient) as db, paused(db):
        async with db.session() as session:
            await add_user(session, "a")
            token = await session.bookmark()

        async def read() -> set[str]:
            async with db.session(token) as session:
                return await emails(session)

        before, began = statements.probes, monotonic()
        assert await asyncio.gather(*(read() for _ in range(100))) == [{"a"}] * 100
        pauses = (monotonic() - began) / (POLL.longest * (1 - jitter)) + 10  # some are shorter
        assert statements.probes - before <= 2 * 2 * pauses  # two replicas, one statement or two


@pytest.mark.embedded
async def test_replica_that_this_process_keeps_tells_where_it_is_unasked(servers, statements):
    async with servers.migrated(max_wait=60) as db, db.session() as session:
        await add_user(session, "first")
        await caught_up(db)
        before, began = statements.probes, monotonic()
        for number in range(30):
            await add_user(session, f"{number}")
            assert f"{number}" in await emails(session)
            assert served_by(session) == "replica"
        heartbeats = 3 * 1.5 * (monotonic() - began + 1)  # of three servers
        assert statements.probes - before < heartbeats


@pytest.mark.parametrize("read_only", [False, True])
async def test_without_fallback_the_error_says_who_is_how_far_behind(servers, read_only) -> None:
    async with servers.migrated(fallback=False) as db, paused(db), db.session() as session:
        await add_user(session, "a")
        lag = r"[\d.]+ (commit|bytes|kB|MB)"
        if read_only:
            await session.begin(read_only=True)
        with pytest.raises(
            NotCaughtUp, match=rf"replica-1 is {lag} behind; replica-2 is {lag} behind"
        ):
            await emails(session)


async def test_read_that_no_server_could_serve_can_be_tried_again(servers) -> None:
    async with servers.migrated(fallback=False) as db, db.session() as session:
        async with paused(db):
            await add_user(session, "a")
            with pytest.raises(NotCaughtUp):
                await session.scalar(select(User.email))
        await caught_up(db)
        assert await session.scalar(select(User.email)) == "a"


@pytest.mark.embedded
async def test_session_that_leaves_a_replica_never_goes_back_in_time(db: Database) -> None:
    one, two = replicas(db)
    await two.pause()
    async with db.begin() as writer:
        writer.add(User(email="a"))
    await one.caught_up()
    async with db.session() as session:
        while served_by_name(session) != one.name:  # the two take turns
            await session.close()
            session = db.session()
            await emails(session)
        assert await emails(session) == {"a"}
        await one.pause()
        one.file.unlink()
        assert await emails(session) == {"a"}
        await session.close()
    await one.resume()
    await two.resume()


def served_by_name(session: BookmarkSession) -> str | None:
    return session.last_route.server if session.last_route else None


async def test_read_on_the_primary_counts_as_seen(db: Database) -> None:
    async with paused(db), db.session("first-primary") as session:
        async with db.begin() as writer:
            writer.add(User(email="a"))
        assert await emails(session) == {"a"}
        assert await emails(session) == {"a"}
        assert served_by(session) == "primary"


async def test_read_in_a_rolled_back_write_counts_as_seen(db: Database) -> None:
    async with paused(db), db.session() as session:
        async with db.begin() as writer:
            writer.add(User(email="a"))
        async with session.begin() as transaction:
            assert await session.scalar(select(User.email)) == "a"
            await transaction.rollback()
        assert await emails(session) == {"a"}


# What it costs -----------------------------------------------------------------------------


async def test_caught_up_read_takes_no_extra_round_trip(db: Database, statements) -> None:
    async with db.session() as session:
        await add_user(session, "a")
        token = await session.bookmark()
    await caught_up(db)
    statements.clear()
    async with db.session(token) as session:
        await session.scalars(select(User))
    assert len(statements) == 1


async def test_bookmark_after_a_commit_takes_no_round_trip(db: Database, statements) -> None:
    async with db.session() as session:
        await add_user(session, "a")
        statements.clear()
        await session.bookmark()
        await session.bookmark()
        assert statements == []


async def test_bookmark_after_a_read_takes_one_round_trip_once(db: Database, statements) -> None:
    async with db.session() as session:
        await session.scalars(select(User))
        statements.clear()
        await session.bookmark()
        await session.bookmark()
        assert len(statements) == (0 if db.embedded else 1)  # SQLite tells it with the read


async def test_write_from_a_bookmark_of_this_process_takes_no_round_trip(db, statements) -> None:
    async with db.session() as session:
        await add_user(session, "a")
        token = await session.bookmark()
    statements.clear()
    async with db.session(token) as session:
        await add_user(session, "b")
    assert [statement.split()[0] for statement in statements] == ["INSERT"]
