"""What sessions rest on: engines that write, that read, and that read from one snapshot."""

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orm.database import Database
from orm.exceptions import ConfigurationError
from orm.testing.conformance.rules import ALL, ROWS, Rules, rows, servers, written

__all__ = ["EngineRules"]


class EngineRules(Rules):
    """The rules for engines and their connections (`orm.backends.Backend`)."""

    def test_a_transaction_that_is_rolled_back_leaves_nothing(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            engine = backend.writer_engine(db.cluster.primary.url)
            try:
                async with engine.connect() as connection:
                    await connection.execute(insert(ROWS).values(id=1))
                    assert (await connection.scalars(ALL)).all() == [1]
                    await connection.rollback()
            finally:
                await engine.dispose()
            assert await rows(db.cluster.primary) == []

        self._run(database, check)

    def test_a_reader_sees_each_commit_at_once(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            options: dict[str, Any] = {"execution_options": {"orm_conformance": 1}}
            engine = backend.reader_engine(db.cluster.primary.url, **options)
            assert engine.sync_engine.get_execution_options()["orm_conformance"] == 1
            try:
                async with engine.connect() as connection:
                    await _sees_each_commit(db, connection)
            finally:
                await engine.dispose()

        self._run(database, check)

    def test_a_reader_refuses_to_write(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            for server in servers(db):
                async with server.engine.connect() as connection:
                    with pytest.raises(DBAPIError) as refused:
                        await connection.execute(insert(ROWS).values(id=1))
                assert backend.is_read_only(refused.value)
                assert not backend.is_unavailable(refused.value)
            assert await rows(db.cluster.primary) == []

        self._run(database, check)

    def test_shared_connections_have_transactions(self, database: Database) -> None:
        backend, url = database.cluster.backend, database.cluster.primary.url
        try:
            reader = backend.reader_engine(url, shared=True)
            writer = backend.writer_engine(url, shared=True)
        except ConfigurationError:
            pytest.skip("connections of this engine are never shared")

        async def check(db: Database) -> None:
            try:
                async with reader.connect() as connection:
                    await _sees_each_commit(db, connection)
                    assert not await connection.run_sync(backend.is_idle)
                    with pytest.raises(DBAPIError) as refused:
                        await connection.execute(insert(ROWS).values(id=3))
                    assert backend.is_read_only(refused.value)
                async with writer.begin() as connection:
                    await connection.execute(insert(ROWS).values(id=2))
                assert await rows(db.cluster.primary) == [1, 2]
            finally:
                await reader.dispose()
                await writer.dispose()

        self._run(database, check)

    def test_a_connection_with_something_to_undo_is_not_idle(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            for server in servers(db):
                async with AsyncEngine(server.snapshots).connect() as connection:
                    await connection.execute(ALL)
                    assert not await connection.run_sync(backend.is_idle)

        self._run(database, check)

    def test_a_snapshot_stays(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            await written(db, 1)
            await self.caught_up(db)
            for number, server in enumerate(servers(db), 2):
                before = await rows(server)
                snapshots = AsyncEngine(backend.snapshot_engine(server.engine))
                async with snapshots.connect() as connection:
                    assert (await connection.scalars(ALL)).all() == before
                    await written(db, number)
                    await self.caught_up(db)
                    assert (await connection.scalars(ALL)).all() == before
                assert await rows(server) == [*before, number]

        self._run(database, check)


async def _sees_each_commit(db: Database, connection: AsyncConnection) -> None:
    assert (await connection.scalars(ALL)).all() == []
    await written(db, 1)
    assert (await connection.scalars(ALL)).all() == [1]
