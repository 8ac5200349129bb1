"""The optional parts that sessions use: network, roles, fences, embedded replicas."""

import asyncio
import threading

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from orm.bookmark import Bookmark
from orm.database import Database
from orm.testing.conformance.rules import (
    ALL,
    ROWS,
    Rules,
    part,
    rows,
    seen_on,
    servers,
    written,
)

__all__ = ["PartRules"]


class PartRules(Rules):
    """The rules for `orm.backends.Network`, `Roles`, `Fences` and `EmbeddedReplicas`."""

    def test_what_waits_for_an_answer_is_cut_off(self, database: Database) -> None:
        backend = database.cluster.backend
        network = part(backend.network, "network")
        if self.one_writer:
            pytest.skip("there is nothing that a second transaction could wait for")

        async def check(db: Database) -> None:
            row = insert(ROWS).values(id=1)
            engine = db.cluster.writer
            async with engine.connect() as holder, engine.connect() as waiter:
                await holder.execute(row)
                pooled = await waiter.get_raw_connection()
                assert pooled.dbapi_connection is not None
                waiting = asyncio.create_task(waiter.execute(row))
                await asyncio.wait([waiting], timeout=0.1)
                assert not waiting.done()
                network.hang_up(pooled.dbapi_connection)
                async with asyncio.timeout(30):
                    with pytest.raises(DBAPIError) as caught:
                        await waiting
                assert backend.is_unavailable(caught.value)
                network.hang_up(pooled.dbapi_connection)  # it is cut off already
                await holder.rollback()

        self._run(database, check)

    def test_servers_say_which_one_is_the_primary(self, database: Database) -> None:
        backend = database.cluster.backend
        roles = part(backend.roles, "roles")

        async def check(db: Database) -> None:
            for server in servers(db):
                async with server.engine.connect() as connection:
                    await connection.run_sync(backend.position)
                    standby = await connection.run_sync(roles.is_standby)
                    candidate = await connection.run_sync(roles.is_candidate)
                assert standby is (server is not db.cluster.primary)
                assert not candidate, "there is a primary"

        self._run(database, check)

    def test_under_one_primary_nothing_is_lost(self, database: Database) -> None:
        backend = database.cluster.backend
        roles = part(backend.roles, "roles")

        async def check(db: Database) -> None:
            async with db.cluster.primary.engine.connect() as connection:
                earlier = await connection.run_sync(backend.position)
                await written(db, 1)
                later = await connection.run_sync(backend.position)
            assert earlier is not None
            assert later is not None
            for one, other in ((earlier, later), (later, earlier)):
                assert roles.lost(one, other) is None
                assert not roles.is_later(one, other)
            need = roles.as_need(later)
            assert later.covers(need), "a need that is not met"
            assert not earlier.covers(need), "a need that is met too early"
            assert roles.without_oldest(need) == need, "there is nothing that is old"

        self._run(database, check)

    def test_a_transaction_that_is_open_is_hidden_and_not_shown(self, database: Database) -> None:
        backend = database.cluster.backend
        fences = part(backend.fences, "fences")
        if self.one_writer:
            pytest.skip("another transaction cannot commit meanwhile")

        async def check(db: Database) -> None:
            primary, replica = db.cluster.primary, db.cluster.replicas[0]
            async with db.connect() as slow:
                await slow.execute(insert(ROWS).values(id=1))
                await written(db, 2)
                await self.caught_up(db)
                async with primary.engine.connect() as there, replica.engine.connect() as here:
                    assert (await here.scalars(ALL)).all() == [2]
                    seen = await seen_on(here, backend)
                    hidden = await there.run_sync(fences.hidden, seen.shown)
                    if not hidden and seen.shown:
                        pytest.skip("a transaction has a number only once it commits")
                    assert hidden, "the replica may show it at any moment"
                    assert await here.run_sync(fences.shown, hidden) < hidden
                    assert await there.run_sync(fences.ending, hidden) < hidden
                    await slow.rollback()
                    still = await there.run_sync(fences.hidden, seen.shown)
                    assert hidden - still, "it has ended"

        self._run(database, check)

    def test_embedded_replicas_follow_the_primary(self, database: Database) -> None:
        embedded = part(database.cluster.backend.embedded, "embedded replicas")

        async def check(db: Database) -> None:
            primary, replica = db.cluster.primary.url, db.cluster.replicas[0]
            urls = [server.url for server in db.cluster.replicas]
            assert [embedded.url(primary, number + 1) for number in range(len(urls))] == urls
            assert list(embedded.present(primary)) == urls

            copy = db.embedded[0]
            for _ in range(2):  # the second does nothing
                await asyncio.to_thread(copy.stop)
            at = Bookmark.decode(await written(db, 1))
            await replica.probe()
            assert not replica.covers(at), "it moves while it is stopped"
            assert copy.reached() is None, "it has moved nothing since it stopped"
            landed = threading.Event()
            copy = embedded.replica(primary, 1, landed.set)
            await asyncio.to_thread(copy.start)
            try:
                landed.clear()
                at = Bookmark.decode(await written(db, 2))
                copy.wake()
                while (reached := copy.reached()) is None or not reached[1].covers(at):
                    assert await asyncio.to_thread(landed.wait, 30), (
                        "its listener was not told that it moved"
                    )
                    landed.clear()
                await replica.probe()
                assert replica.covers(reached[1]), "it is not where it says"
                assert replica.knowledge.incarnation == reached[0]
            finally:
                await asyncio.to_thread(copy.stop)

            copy = db.embedded[0]
            await asyncio.to_thread(copy.start)
            copy.rebuild()
            await written(db, 3)
            await self.caught_up(db)
            assert await rows(replica) == [1, 2, 3]

        self._run(database, check)
