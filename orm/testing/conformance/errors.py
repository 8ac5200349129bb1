"""What sessions rest on: what an error of a database means."""

import asyncio

import pytest
from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError

from orm.database import Database
from orm.testing.conformance.rules import ABSENT, ROWS, Rules, written

__all__ = ["ErrorRules"]


class ErrorRules(Rules):
    """The rules for errors (`orm.backends.Backend`)."""

    def test_an_error_of_the_statement_is_not_one_of_the_server(self, database: Database) -> None:
        backend = database.cluster.backend

        async def check(db: Database) -> None:
            async with db.cluster.primary.engine.connect() as connection:
                with pytest.raises(DBAPIError) as refused:
                    await connection.execute(ABSENT)
                assert not await connection.run_sync(backend.renew, refused.value)
            for answer in (
                backend.is_retryable,
                backend.is_unavailable,
                backend.is_unreachable,
                backend.is_damaged,
                backend.is_read_only,
            ):
                assert not answer(refused.value), answer.__name__

        self._run(database, check)

    def test_a_deadlock_may_be_tried_again(self, database: Database) -> None:
        if self.one_writer:
            pytest.skip("transactions that write wait for each other from the beginning")
        backend = database.cluster.backend
        update = text(f"UPDATE {ROWS.name} SET id = id + 10 WHERE id = :id")

        async def check(db: Database) -> None:
            await written(db, 1)
            await written(db, 2)
            both = asyncio.Barrier(2)

            async def change(first: int, second: int) -> None:
                async with db.begin() as session:
                    await session.execute(update, {"id": first})
                    await both.wait()
                    await session.execute(update, {"id": second})

            outcomes = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
            (error,) = (outcome for outcome in outcomes if outcome is not None)
            assert isinstance(error, DBAPIError), error
            assert backend.is_retryable(error)

        self._run(database, check)

    def test_what_is_not_there_is_told_from_what_is_wrong(self, database: Database) -> None:
        backend = database.cluster.backend

        async def is_missing(db: Database, statement: Executable) -> bool:
            async with db.cluster.primary.engine.connect() as connection:
                with pytest.raises(DBAPIError) as refused:
                    await connection.execute(statement)
            return backend.is_missing(refused.value)

        async def check(db: Database) -> None:
            table = await is_missing(db, ABSENT)
            assert await is_missing(db, text(f"SELECT absent FROM {ROWS.name}")) is table
            assert not await is_missing(db, text("SELECT FROM WHERE"))

        self._run(database, check)

    def test_a_reader_outlives_a_change_of_the_schema(self, database: Database) -> None:
        backend = database.cluster.backend
        everything = text(f"SELECT * FROM {ROWS.name}")

        async def check(db: Database) -> None:
            async with db.cluster.primary.engine.connect() as connection:
                for _ in range(10):  # drivers prepare a statement that comes back
                    assert (await connection.execute(everything)).all() == []
                async with db.connect() as other:
                    await other.execute(text(f"ALTER TABLE {ROWS.name} ADD COLUMN more INTEGER"))
                    await other.commit()
                try:
                    found = await connection.execute(everything)
                except DBAPIError as error:
                    if not await connection.run_sync(backend.renew, error):
                        raise
                    found = await connection.execute(everything)
                assert list(found.keys()) == ["id", "more"]

        self._run(database, check)
