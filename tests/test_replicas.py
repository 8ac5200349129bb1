"""Replicas that die, are damaged or come back, under sessions that go on reading."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from models import User
from orm import Database, NotCaughtUp, Reason, WriteLost
from orm.backends.sqlite.replication import Replicator
from orm.testing import caught_up, paused, replicas

MANY = 300


def elsewhere(code: str, *arguments: object) -> None:
    """Run code in another process: closing a file that SQLite has open would drop its locks."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def delete(file: Path) -> None:
    file.unlink()


def delete_the_data(file: Path) -> None:
    file.resolve().unlink()


def truncate(file: Path) -> None:
    elsewhere("import os, sys; os.truncate(sys.argv[1], 3000)", file)


def ruin(file: Path, *, after: int = 0) -> None:
    elsewhere(
        "import pathlib, sys\n"
        "file, after = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])\n"
        "for part in (file, pathlib.Path(f'{file}-wal')):\n"
        "    if part.exists():\n"
        "        size = part.stat().st_size\n"
        "        with part.open('r+b') as opened:\n"
        "            opened.seek(after)\n"
        "            opened.write(b'garbage ' * max(0, (size - after) // 8))\n",
        file,
        after,
    )


def overwrite(file: Path) -> None:
    elsewhere("import sys; open(sys.argv[1], 'r+b').write(b'garbage ' * 4096)", file)


@pytest.fixture
async def full(db: Database) -> Database:
    async with db.begin() as session:
        session.add_all(User(email=f"{n}{'x' * 300}") for n in range(MANY))
    await caught_up(db)
    return db


async def count(db: Database) -> int:
    async with db.session() as session:
        return await session.scalar(select(func.count(func.length(User.email)))) or 0


@pytest.mark.parametrize("harm", [delete, delete_the_data, truncate, overwrite])
async def test_reads_go_on_while_a_replica_is_damaged_and_rebuilt(full: Database, harm) -> None:
    one, _ = replicas(full)
    harmed = one.file.resolve()  # not its inode, which a later file may have again
    harm(one.file)
    async with asyncio.timeout(60):
        while not one.file.exists() or one.file.resolve() == harmed:
            assert await count(full) == MANY
    await caught_up(full)
    assert await count(full) == MANY
    assert {s.error for s in await full.status()} == {None}


async def test_damage_that_only_readers_find_has_the_replica_made_anew(full: Database) -> None:
    """No time stamp tells of it."""
    one, _ = replicas(full)
    harmed = one.file.resolve()
    before = {file: file.stat() for file in one.file.parent.glob(f"{one.file.resolve().name}*")}
    ruin(one.file, after=8 * 4096)
    for file, was in before.items():
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    async with asyncio.timeout(60):
        while one.file.resolve() == harmed:
            assert await count(full) == MANY


async def test_both_replicas_gone_leave_the_primary(full: Database) -> None:
    async with paused(full) as both:
        for replica in both:
            replica.file.unlink()
        async with asyncio.timeout(60):
            while None in {s.error for s in await full.status() if s.role == "replica"}:
                assert await count(full) == MANY
        assert await count(full) == MANY


async def test_status_tells_who_is_behind(db: Database) -> None:
    async with paused(db) as (one, _):
        for email in "abc":
            async with db.begin() as session:
                session.add(User(email=email))
        await one.resume()
        await one.caught_up()
        status = await db.status()
        assert [(s.name, s.role, s.behind, s.error) for s in status] == [
            ("primary", "primary", 0, None),
            ("replica-1", "replica", 0, None),
            ("replica-2", "replica", 3, None),
        ]


async def test_writer_from_outside_is_replicated(db: Database, servers) -> None:
    with sqlite3.connect(servers.folder / "app.db") as outsider:
        outsider.execute("INSERT INTO users (email) VALUES ('outside')")
    outsider.close()
    async with db.begin() as session:  # its position comes after the outsider's commit
        session.add(User(email="inside"))
    await caught_up(db)
    async with db.session() as session:
        assert set(await session.scalars(select(User.email))) == {"inside", "outside"}
        assert session.last_route and session.last_route.role == "replica"


async def test_replica_rebuilt_from_the_primary_is_caught_up_at_once(servers) -> None:
    async with servers.migrated() as db:
        async with db.begin() as session:
            session.add(User(email="a"))
    for file in servers.folder.glob("app.replica-*"):
        file.unlink()
    async with servers.database() as db, db.session() as session:
        assert await session.scalar(select(User.email)) == "a"
        assert session.last_route and session.last_route.role == "replica"


async def test_lag_can_be_set_and_is_what_readers_see(db: Database) -> None:
    one, two = replicas(db)
    two.lag = 3600
    async with db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        token = await session.bookmark()
    await one.caught_up()
    async with db.session(token) as session:
        assert await session.scalar(select(User.email)) == "a"
        assert session.last_route and session.last_route.server == "replica-1"
    with pytest.raises(TimeoutError, match="replica-2"):
        await two.caught_up(within=0.05)
    two.lag = 0
    await two.caught_up()


def copy_of(file: Path) -> Path:
    copy = file.with_name("copy.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@pytest.mark.parametrize("asked", [False, True])
async def test_session_never_goes_back_in_time_with_a_file_that_does(db, asked: bool) -> None:
    one, _ = replicas(db)
    old = copy_of(one.file)  # has all that a new session must see
    async with db.begin() as writer:
        writer.add(User(email="a"))
    await caught_up(db)
    async with paused(db):
        for _ in range(2):  # the two take turns
            session = db.session()
            assert await session.scalar(select(User.email)) == "a"
            assert session.last_route
            if session.last_route.server == one.name:
                break
            await session.close()
        await session.rollback()
        old.replace(one.file)
        if asked:
            token = await session.bookmark()
            for _ in range(2):
                async with db.session(token) as linked:
                    assert await linked.scalar(select(User.email)) == "a"
        else:
            assert await session.scalar(select(User.email)) == "a"
        await session.close()


async def test_read_that_fails_on_a_replica_is_sent_elsewhere(full: Database) -> None:
    async with paused(full) as both, full.session() as session:
        assert await session.scalar(select(func.min(User.id))) == 1
        for replica in both:
            ruin(replica.file)
        assert await session.scalar(select(func.count(func.length(User.email)))) == MANY
        assert session.last_route
        assert session.last_route.role == "primary"


async def test_stream_from_a_replica_that_fails_says_so(full: Database) -> None:
    async with paused(full) as both, full.session() as session:
        stream = await session.stream(select(User.id), execution_options={"yield_per": 10})
        assert await stream.fetchone() == (1,)
        for replica in both:
            ruin(replica.file)
        assert await session.scalar(select(func.count(func.length(User.email)))) == MANY
        with pytest.raises(DatabaseError):
            await stream.all()


async def test_read_that_fails_on_the_primary_is_an_error(full: Database, servers) -> None:
    file = servers.folder / "app.db"
    async with paused(full), full.session("first-primary") as session, asyncio.timeout(60):
        with closing(sqlite3.connect(file)) as outsider:
            outsider.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ruin(file, after=8 * 4096)  # it opens, and tells its position
        with pytest.raises(DatabaseError):
            await session.scalar(select(func.count(func.length(User.email))))


async def test_bookmark_in_a_transaction_takes_no_second_connection(servers) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    async with servers.migrated(engine_options=options) as db:
        for constraint in ("first-primary", "first-unconstrained"):
            async with db.session(constraint) as session:
                await session.scalars(select(User))
                await session.bookmark()


async def test_primary_that_is_away_is_said_with_the_state_of_the_replicas(db, servers) -> None:
    async with paused(db), servers.elsewhere() as other:
        reader = db.session("first-primary")
        await (await reader.stream(select(User))).all()  # whose position is asked for later
        await reader.rollback()
        async with db.session() as session:
            session.add(User(email="a"))
            await session.commit()
            token = await session.bookmark()
            (servers.folder / "app.db").unlink()
            with pytest.raises(
                NotCaughtUp, match=r"replica-1 is 1 commit behind.*primary: unable to open"
            ):
                await session.scalar(select(User.email))
        with pytest.raises(OperationalError, match="unable to open"):
            await reader.bookmark()
        await reader.close()
        async with db.session("first-primary") as session:
            with pytest.raises(OperationalError, match="unable to open"):
                await session.scalar(select(User.email))
        async with other.session(token) as session:
            with pytest.raises(NotCaughtUp, match="replica-1 is 1 commit behind"):
                await session.scalar(select(User.email))
        async with db.session() as session:
            assert await session.scalar(select(User.email)) is None


def replace_history(file: Path) -> None:
    """As a restore does, from a backup of another life of the database."""
    with closing(sqlite3.connect(file)) as outsider:
        outsider.executescript("DELETE FROM users; UPDATE orm_position SET history = 'another'")


async def test_commit_tells_that_the_database_was_replaced(db: Database, servers) -> None:
    async with paused(db), db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        replace_history(servers.folder / "app.db")
        async with db.begin() as writer:
            writer.add(User(email="b"))
        with pytest.raises(WriteLost):
            await session.scalar(select(User.email))


async def test_bookmark_tells_that_the_database_was_replaced(servers) -> None:
    unpooled = {"poolclass": NullPool}
    async with servers.migrated(engine_options=unpooled) as db, db.session() as wrote:
        wrote.add(User(email="a"))
        await wrote.commit()
        await caught_up(db)
        token = await wrote.bookmark()
        async with paused(db) as both, db.session(token) as handed_on, db.session() as reader:
            assert await handed_on.scalar(select(User.email)) == "a"
            await handed_on.rollback()
            await handed_on.bookmark()
            read = await reader.stream_scalars(select(User.email))  # it is not located by that
            assert await read.all() == ["a"]
            await reader.rollback()
            replace_history(servers.folder / "app.db")
            for replica in both:
                replica.file.unlink()  # so that what was read there is asked of the primary
            await reader.bookmark()
            for session in (wrote, handed_on):
                with pytest.raises(WriteLost):  # though the primary had it a moment ago
                    await session.scalar(select(User.email))


async def test_write_that_fails_is_not_sent_again(db: Database, servers) -> None:
    async with db.session() as session:
        await session.execute(text("PRAGMA busy_timeout = 1"))  # the writer has one connection
        await session.commit()
        assert await session.scalar(select(User.email)) is None
        with closing(sqlite3.connect(servers.folder / "app.db")) as outsider:
            outsider.execute("BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked"):
                await session.execute(insert(User).values(email="a"))
        assert {status.error for status in await db.status()} == {None}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("old", [False, True])
async def test_what_is_known_of_a_file_is_not_believed_of_another(db, old, read_only):
    one, _ = replicas(db)
    copy = copy_of(one.file)
    async with db.session() as session:
        session.add(User(email="a"))
        await session.commit()
        token = await session.bookmark()
    await caught_up(db)
    async with paused(db):
        if not old:
            copy = copy_of(one.file)
        copy.replace(one.file)
        servers_seen = list[str]()
        async with asyncio.timeout(200):
            # The two take turns; the one that was slower has less of the reads.
            while len(servers_seen) < 2 or ("replica-1" not in servers_seen and not old):
                async with db.session(token) as session:
                    begin = session.begin(read_only=True) if read_only else nullcontext()
                    async with begin:
                        assert await session.scalar(select(User.email)) == "a"
                    assert session.last_route
                    servers_seen.append(session.last_route.server)
        assert ("replica-1" in servers_seen) is not old


async def test_file_that_does_not_tell_where_it_is_is_not_read(db: Database) -> None:
    one, _ = replicas(db)
    copy = copy_of(one.file)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("DROP TABLE orm_position")
    async with paused(db):
        copy.replace(one.file)
        for _ in range(2):  # the two take turns
            async with db.session() as session:
                await session.scalar(select(User.email))
                assert session.last_route and session.last_route.server == "replica-2"


async def test_commit_is_announced_to_the_replicators(db, monkeypatch) -> None:
    woken = []
    monkeypatch.setattr(Replicator, "wake", lambda self: woken.append(self))
    async with db.begin() as session:
        session.add(User(email="a"))
    assert woken == list(db.embedded)


async def test_copy_of_a_database_has_a_history_of_its_own(servers) -> None:
    async with servers.migrated() as db:
        async with db.session() as session:
            session.add(User(email="a"))
            await session.commit()
            token = await session.bookmark()
    backup = servers.folder / "backup.db"
    shutil.copyfile(servers.folder / "app.db", backup)  # as it was, at this bookmark
    async with servers.database() as db, db.session() as session:
        session.add(User(email="lost"))
        await session.commit()
        lost = await session.bookmark()
    backup.rename(servers.folder / "app.db")
    async with servers.database() as db:
        for n in range(3):  # counts past the lost commit
            async with db.begin() as session:
                session.add(User(email=f"other {n}"))
        await caught_up(db)
        for bookmark in (token, lost):
            async with db.session(bookmark) as session:
                assert "other 2" in set(await session.scalars(select(User.email)))
                assert session.last_route and session.last_route.reason is Reason.STRAY_BOOKMARK
