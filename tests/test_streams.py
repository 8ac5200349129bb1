"""Streams that are left half read, however streaming was asked for."""

import asyncio

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import ResourceClosedError

from models import User
from orm import BookmarkSession, Database
from orm.testing import caught_up
from tests.conftest import MySQL

NEWEST_FIRST = select(User.email).order_by(User.id.desc())


async def half_read(session: BookmarkSession, how: str) -> tuple[object, object]:
    """A half-read result, and the first value in it."""
    if how.startswith("connection"):
        connection = await session.connection(bind_arguments={"clause": NEWEST_FIRST})
        options = {"no_parameters": True} if how.endswith("parameters") else {}
        stream = await connection.stream_scalars(NEWEST_FIRST, execution_options=options)
        return stream, (await stream.fetchmany(1))[0]
    if how == "stream":
        stream = await session.stream_scalars(NEWEST_FIRST)
        return stream, (await stream.fetchmany(1))[0]

    def read(sync_session) -> tuple[object, object]:
        statement = (
            NEWEST_FIRST.execution_options(yield_per=1) if how == "statement" else NEWEST_FIRST
        )
        result = sync_session.scalars(statement)
        return result, result.fetchmany(1)[0]

    return await session.run_sync(read)


@pytest.mark.parametrize("constraint", ["first-primary", "first-unconstrained"])
@pytest.mark.parametrize(
    "how", ["stream", "statement", "session", "connection", "connection, no parameters"]
)
async def test_it_holds_no_later_reader_in_the_past(
    db: Database, how: str, constraint: str
) -> None:
    options = {"execution_options": {"stream_results": True}} if how == "session" else {}
    left = []
    for number in range(4):
        async with db.begin() as writer:
            await writer.execute(insert(User), [{"email": f"{number} {n}"} for n in range(200)])
        await caught_up(db)
        async with db.session(constraint, **options) as reader:
            result, newest = await half_read(reader, how)
            assert newest == f"{number} 199"
            left.append(result)


async def test_it_holds_no_writer_in_the_past(servers, db: Database) -> None:
    async with servers.elsewhere() as other:
        left = []
        for number in range(3):
            async with db.begin() as writer:
                await writer.execute(insert(User), [{"email": f"{number} {n}"} for n in range(200)])
                stream = await (await writer.connection()).stream_scalars(NEWEST_FIRST)
                assert await stream.fetchmany(1) == [f"{number} 199"]
                left.append(stream)
            async with other.begin() as another:
                another.add(User(email=f"{number}"))


@pytest.mark.parametrize("route", ["read", "primary"])
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_it_ends_with_its_transaction(db: Database, end: str, route: str) -> None:
    async with db.begin() as writer:
        await writer.execute(insert(User), [{"email": str(n)} for n in range(200)])
    await caught_up(db)
    async with db.session(execution_options={"route": route}) as session:
        stream = await session.stream_scalars(NEWEST_FIRST.execution_options(yield_per=1))
        await stream.fetchmany(1)
        await getattr(session, end)()
        with pytest.raises(ResourceClosedError):
            await stream.fetchmany(1)


@pytest.mark.parametrize("route", ["read", "primary"])
async def test_it_is_no_error_in_the_log_to_be_cut_off(
    servers, route: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.migrated() as db:
        # More than come before the cancellation; MariaDB and MySQL send all of them at once, and
        # the network between is to hold less.
        rows, width = (20_000, 250) if isinstance(servers, MySQL) else (2_000, 1)
        async with db.begin() as writer:
            await writer.execute(
                insert(User), [{"email": str(n).zfill(width)} for n in range(rows)]
            )
        await caught_up(db)

        async def read(begun: asyncio.Event) -> None:
            async with db.session(execution_options={"route": route}) as session:
                rows = await session.stream_scalars(NEWEST_FIRST.execution_options(yield_per=1))
                async for _ in rows:
                    begun.set()

        for steps in range(12):  # of the event loop, between the first row and the cancellation
            begun = asyncio.Event()
            reading = asyncio.create_task(read(begun))
            await begun.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
    # asyncmy logs the server's warnings, such as that primary keys have no names.
    ours = [record for record in caplog.records if record.name != "asyncmy"]
    assert [record.getMessage() for record in ours] == []
