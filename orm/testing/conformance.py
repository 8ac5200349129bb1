"""What is asked of every backend, as tests for pytest: subclass `BackendConformance`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import Thing, migrations_for
from orm.bookmark import Bookmark
from orm.database import Database
from orm.exceptions import MigrationError
from orm.migrations.connecting import on_a_connection
from orm.servers.server import Server
from orm.testing.control import caught_up, paused

__all__ = ["BackendConformance"]

_METADATA = MetaData()
_ROWS = Table("orm_conformance", _METADATA, Column("id", Integer, primary_key=True))
_ALL = select(_ROWS.c.id).order_by(_ROWS.c.id)

Check = Callable[[Database], Awaitable[None]]


class BackendConformance:
    """The rules that a backend has to keep, tried on its servers.

    A subclass has a fixture ``database``: a `Database` that is not started, of a primary and at
    least one replica, in which a table ``orm_conformance`` may be made and is dropped after each
    test. Where replicas are not paused as those of SQLite and PostgreSQL are, it overrides
    `paused` and `caught_up`.

    The tests are plain functions: no plugin for asynchronous ones is needed.
    """

    one_writer = False
    """Whether one transaction that writes keeps all others waiting until it ends."""

    def paused(self, database: Database) -> AbstractAsyncContextManager[object]:
        """Inside the block no replica shows anything new."""
        return paused(database)

    async def caught_up(self, database: Database) -> None:
        """Return when all replicas have all that the primary has at this moment."""
        await caught_up(database)

    def test_a_commit_is_at_its_position_and_no_earlier(self, database: Database) -> None:
        async def check(db: Database) -> None:
            replica = db.cluster.replicas[0]
            async with self.paused(db):
                token = await _written(db, 1)
                at = Bookmark.decode(token)
                await replica.probe()
                assert not replica.covers(at), "a position before the commit"
                assert await _rows(replica) == []
            await self.caught_up(db)
            await replica.probe()
            assert replica.covers(at), "a position that is never reached"
            assert await _rows(replica) == [1]

        self._run(database, check)

    def test_who_waits_on_a_replica_has_an_answer_in_time(self, database: Database) -> None:
        async def check(db: Database) -> None:
            backend, replica = db.cluster.backend, db.cluster.replicas[0]
            async with replica.engine.connect() as connection:
                await connection.run_sync(backend.position)
                async with self.paused(db):
                    at = Bookmark.decode(await _written(db, 1))
                    async with asyncio.timeout(5):
                        await connection.run_sync(backend.wait_until, at, 0.02)
                    missed = await connection.run_sync(backend.position)
                    assert missed is not None
                    assert not missed.covers(at)
                if await connection.run_sync(backend.wait_until, at, 10):
                    reached = await connection.run_sync(backend.position)
                    assert reached is not None
                    assert reached.covers(at), "it has waited for less"

        self._run(database, check)

    def test_a_transaction_that_is_still_open_is_not_passed_by(self, database: Database) -> None:
        if self.one_writer:
            pytest.skip("another transaction cannot commit meanwhile")

        async def check(db: Database) -> None:
            async with db.connect() as slow:
                await slow.execute(insert(_ROWS).values(id=1))
                before = Bookmark.decode(await _written(db, 2))
                await self.caught_up(db)
                async with self.paused(db):
                    await slow.commit()
                    at = Bookmark.decode(await slow.bookmark())
                    replica = db.cluster.replicas[0]
                    await replica.probe()
                    assert replica.covers(before)
                    assert not replica.covers(at), "as old as when it began"

        self._run(database, check)

    def test_what_was_read_is_at_or_before_what_is_seen(self, database: Database) -> None:
        async def check(db: Database) -> None:
            replica = db.cluster.replicas[0]
            at = Bookmark.decode(await _written(db, 1))
            await self.caught_up(db)
            for server in (db.cluster.primary, replica):
                async with server.engine.connect() as connection:
                    assert (await connection.scalars(_ALL)).all() == [1]
                    seen = await connection.run_sync(db.cluster.backend.seen)
                assert seen is not None
                assert seen.covers(at)

        self._run(database, check)

    def test_a_server_only_moves_forward(self, database: Database) -> None:
        async def check(db: Database) -> None:
            for number, server in enumerate(_servers(db)):
                async with server.engine.connect() as connection:
                    earlier = await connection.run_sync(db.cluster.backend.position)
                await _written(db, number)
                async with server.engine.connect() as connection:
                    later = await connection.run_sync(db.cluster.backend.position)
                assert earlier is not None
                assert later is not None
                assert later.covers(earlier)
                backend = db.cluster.backend
                roles = db.cluster.roles
                assert roles.lost(later, earlier) is None
                assert backend.behind(later, later) == 0
                need = roles.as_need(later)
                assert later.covers(need), "a need that is not met"
                assert earlier.covers(need) == earlier.covers(later), "a need that is met too early"

        self._run(database, check)

    def test_positions_travel(self, database: Database) -> None:
        async def check(db: Database) -> None:
            token = await _written(db, 1)
            at = Bookmark.decode(token)
            assert Bookmark.decode(at.encode()) == at
            async with db.connect(token) as connection:
                assert (await connection.scalars(_ALL)).all() == [1]

        self._run(database, check)

    def test_who_a_server_is_takes_no_question(self, database: Database) -> None:
        async def check(db: Database) -> None:
            asked: list[str] = []

            def note(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
                asked.append(statement)

            for server in _servers(db):
                sync = server.engine.sync_engine
                async with server.engine.connect() as one, server.engine.connect() as two:
                    event.listen(sync, "before_cursor_execute", note)
                    first = await one.run_sync(db.cluster.backend.incarnation)
                    assert first == await two.run_sync(db.cluster.backend.incarnation)
                    event.remove(sync, "before_cursor_execute", note)
            assert asked == []

        self._run(database, check)

    def test_a_reader_refuses_to_write(self, database: Database) -> None:
        async def check(db: Database) -> None:
            for server in _servers(db):
                async with server.engine.connect() as connection:
                    with pytest.raises(DBAPIError) as refused:
                        await connection.execute(insert(_ROWS).values(id=1))
                assert db.cluster.backend.is_read_only(refused.value)
                assert not db.cluster.backend.is_unavailable(refused.value)
            assert await _rows(db.cluster.primary) == []

        self._run(database, check)

    def test_an_error_of_the_statement_is_not_one_of_the_server(self, database: Database) -> None:
        async def check(db: Database) -> None:
            backend = db.cluster.backend
            async with db.cluster.primary.engine.connect() as connection:
                with pytest.raises(DBAPIError) as refused:
                    await connection.execute(text("SELECT 1 FROM orm_conformance_absent"))
            for answer in (backend.is_unavailable, backend.is_damaged, backend.is_read_only):
                assert not answer(refused.value), answer.__name__

        self._run(database, check)

    def test_what_has_nothing_to_undo_is_idle(self, database: Database) -> None:
        async def check(db: Database) -> None:
            is_idle = db.cluster.backend.is_idle
            for server in _servers(db):
                for engine, idle in ((server.engine, True), (AsyncEngine(server.snapshots), False)):
                    async with engine.connect() as connection:
                        await connection.execute(_ALL)
                        assert await connection.run_sync(is_idle) is idle

        self._run(database, check)

    def test_a_snapshot_stays(self, database: Database) -> None:
        async def check(db: Database) -> None:
            await _written(db, 1)
            await self.caught_up(db)
            for number, server in enumerate(_servers(db), 2):
                before = await _rows(server)
                async with AsyncEngine(server.snapshots).connect() as connection:
                    assert (await connection.scalars(_ALL)).all() == before
                    await _written(db, number)
                    await self.caught_up(db)
                    assert (await connection.scalars(_ALL)).all() == before
                assert await _rows(server) == [*before, number]

        self._run(database, check)

    def test_a_migration_that_fails_leaves_nothing(self, database: Database) -> None:
        async def check(db: Database) -> None:
            migrations = migrations_for(db.cluster.primary.url)
            other = Table("orm_conformance_other", MetaData(), Column("id", Integer))

            def migrate(connection: Connection) -> None:
                with migrations.migrating(connection, 60), connection.begin():
                    other.create(connection)
                    connection.execute(insert(_ROWS).values(id=1))
                    connection.exec_driver_sql("SELECT 1 FROM orm_conformance_absent")

            url = db.cluster.primary.url
            engine = migrations.engine(url)
            with pytest.raises(MigrationError, match="orm_conformance_absent"):
                await asyncio.to_thread(on_a_connection, engine, migrate, url=url)
            async with db.cluster.writer.connect() as connection:
                assert not await connection.run_sync(lambda c: inspect(c).has_table(other.name))
            assert await _rows(db.cluster.primary) == []

        self._run(database, check)

    def test_definitions_tell_what_is_there(self, database: Database) -> None:
        async def check(db: Database) -> None:
            migrations = migrations_for(db.cluster.primary.url)
            async with db.cluster.writer.connect() as connection:
                defined = await connection.run_sync(migrations.definitions)
                assert not await connection.run_sync(migrations.faults)
            assert Thing("table", _ROWS.name, _ROWS.name) in defined

            def replay() -> Mapping[Thing, str]:
                with migrations.scratch(db.cluster.primary.url) as scratch:
                    assert not inspect(scratch).has_table(_ROWS.name)
                    _METADATA.create_all(scratch)
                    return migrations.definitions(scratch)

            assert _of_ours(await asyncio.to_thread(replay)) == _of_ours(defined)

        self._run(database, check)

    def _run(self, database: Database, check: Check) -> None:
        async def within() -> None:
            async with database as db:
                async with db.connect() as connection:
                    await connection.run_sync(_METADATA.drop_all)
                    await connection.run_sync(_METADATA.create_all)
                    await connection.commit()
                await self.caught_up(db)
                try:
                    await check(db)
                finally:
                    async with db.connect() as connection:
                        await connection.run_sync(_METADATA.drop_all)
                        await connection.commit()

        asyncio.run(within())


def _of_ours(definitions: Mapping[Thing, str]) -> Mapping[Thing, str]:
    return {thing: said for thing, said in definitions.items() if thing.table == _ROWS.name}


def _servers(db: Database) -> list[Server]:
    return [db.cluster.primary, *db.cluster.replicas]


async def _written(db: Database, row: int) -> str:
    async with db.connect() as connection:
        await connection.execute(insert(_ROWS).values(id=row))
        await connection.commit()
        return await connection.bookmark()


async def _rows(server: Server) -> list[int]:
    async with server.engine.connect() as connection:
        return list((await connection.scalars(_ALL)).all())
