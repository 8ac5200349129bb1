"""What sessions rest on: where a server is, and what is seen and written there."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from orm.bookmark import Bookmark
from orm.database import Database
from orm.testing.conformance.rules import ALL, ROWS, Rules, rows, seen_on, servers, written

__all__ = ["PositionRules"]


class PositionRules(Rules):
    """The rules for positions and incarnations (`orm.backends.Backend`)."""

    def test_a_commit_is_at_its_position_and_no_earlier(self, database: Database) -> None:
        async def check(db: Database) -> None:
            replica = db.cluster.replicas[0]
            async with self.paused(db):
                token = await written(db, 1)
                at = Bookmark.decode(token)
                await replica.probe()
                assert not replica.covers(at), "a position before the commit"
                assert await rows(replica) == []
            await self.caught_up(db)
            await replica.probe()
            assert replica.covers(at), "a position that is never reached"
            assert await rows(replica) == [1]

        self._run(database, check)

    def test_a_connection_tells_where_its_commit_is(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            replica = db.cluster.replicas[0]
            async with self.paused(db):
                async with db.cluster.writer.connect() as connection:
                    await connection.execute(insert(ROWS).values(id=1))
                    await connection.commit()
                    at = await connection.run_sync(partial(backend.committed, wrote=True))
                if at is None:
                    return  # a session asks `seen` then
                await replica.probe()
                assert not replica.covers(at), "a position before the commit"
            await self.caught_up(db)
            await replica.probe()
            assert replica.covers(at), "a position that is never reached"

        self._run(database, check)

    def test_a_replica_that_waits_answers_in_time(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            replica = db.cluster.replicas[0]
            async with replica.engine.connect() as connection:
                await connection.run_sync(backend.position)
                async with self.paused(db):
                    at = Bookmark.decode(await written(db, 1))
                    async with asyncio.timeout(30):
                        await connection.run_sync(backend.wait_until, at, 0.02)
                    missed = await connection.run_sync(backend.position)
                    assert missed is not None
                    assert not missed.covers(at)
                if await connection.run_sync(backend.wait_until, at, 60):
                    reached = await connection.run_sync(backend.position)
                    assert reached is not None
                    assert reached.covers(at), "it has waited for less"

        self._run(database, check)

    def test_a_transaction_that_is_still_open_is_not_passed_by(self, database: Database) -> None:
        if self.one_writer:
            pytest.skip("another transaction cannot commit meanwhile")

        async def check(db: Database) -> None:
            async with db.connect() as slow:
                await slow.execute(insert(ROWS).values(id=1))
                before = Bookmark.decode(await written(db, 2))
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
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            at = Bookmark.decode(await written(db, 1))
            await self.caught_up(db)
            for server in servers(db):
                async with server.engine.connect() as connection:
                    assert (await connection.scalars(ALL)).all() == [1]
                    seen = await seen_on(connection, backend)
                    reached = await connection.run_sync(backend.reached)
                    later = await connection.run_sync(backend.position)
                assert seen.covers(at)
                if reached is not None:
                    assert later is not None
                    assert later.covers(reached), "more than any later statement sees for certain"
            async with db.cluster.primary.engine.connect() as connection:
                anywhere = await connection.run_sync(backend.written)
            assert anywhere is not None
            assert anywhere.covers(at)

        self._run(database, check)

    def test_what_is_noted_is_of_the_latest_statement(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            for row in (1, 2):
                at = Bookmark.decode(await written(db, row))
                await self.caught_up(db)
                for server in servers(db):
                    async with server.engine.connect() as connection:
                        noted = await connection.run_sync(backend.noted)
                        assert noted is None, "left by those who had the connection before"
                        assert len((await connection.scalars(ALL)).all()) == row
                        noted = await connection.run_sync(backend.noted)
                        assert noted is None or noted.covers(at)
                        await connection.invalidate()
                        assert await connection.run_sync(backend.noted) is None, "it was lost"

        self._run(database, check)

    def test_a_caveat_is_a_sentence_or_none(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            async with db.cluster.primary.engine.connect() as connection:
                await connection.run_sync(backend.position)
                caveat = await connection.run_sync(backend.caveat)
            assert caveat is None or " " in caveat

        self._run(database, check)

    def test_a_server_only_moves_forward(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            for number, server in enumerate(servers(db)):
                async with server.engine.connect() as connection:
                    earlier = await connection.run_sync(backend.position)
                await written(db, number)
                await self.caught_up(db)
                async with server.engine.connect() as connection:
                    later = await connection.run_sync(backend.position)
                    age = await connection.run_sync(backend.replayed)
                assert earlier is not None
                assert later is not None
                assert later.covers(earlier)
                assert not earlier.covers(later)
                assert backend.behind(later, later) == 0
                assert (backend.behind(earlier, later) or 0) > 0, f"no {backend.unit} behind"
                assert backend.place(later) != backend.place(earlier), "for people they are one"
                assert age is None or age >= 0

        self._run(database, check)

    def test_positions_travel(self, database: Database) -> None:
        async def check(db: Database) -> None:
            token = await written(db, 1)
            at = Bookmark.decode(token)
            assert Bookmark.decode(at.encode()) == at
            async with db.connect(token) as connection:
                assert (await connection.scalars(ALL)).all() == [1]

        self._run(database, check)

    def test_preparing_again_takes_nothing_back(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            before = Bookmark.decode(await written(db, 1))
            async with db.cluster.writer.begin() as connection:
                await connection.run_sync(backend.prepare)
            async with db.cluster.primary.engine.connect() as connection:
                after = await connection.run_sync(backend.position)
            assert after is not None
            assert after.covers(before)

        self._run(database, check)

    def test_the_incarnation_is_known_without_asking(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            asked: list[str] = []

            def note(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
                asked.append(statement)

            for server in servers(db):
                sync = server.engine.sync_engine
                async with server.engine.connect() as one, server.engine.connect() as two:
                    event.listen(sync, "before_cursor_execute", note)
                    first = await one.run_sync(backend.incarnation)
                    assert first == await two.run_sync(backend.incarnation)
                    event.remove(sync, "before_cursor_execute", note)
            assert asked == []

        self._run(database, check)
