"""What a commit and a read send."""

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text

from models import User
from orm import BookmarkSession, Database
from orm.testing.listener import Listener
from tests.conftest import PostgreSQL


async def commit(session: BookmarkSession, email: str, folder: Path) -> tuple[str, int]:
    """Commit a row: the bookmark after it, and the round trips that the two took.

    libpq writes down each message; a round trip ends with the server's ReadyForQuery.
    """
    session.add(User(email=email))
    await session.flush()
    connection = await (await session.connection()).get_raw_connection()
    driver: Any = connection.driver_connection
    with (folder / "trace").open("wb") as trace:
        driver.pgconn.trace(trace.fileno())
        await session.commit()
        token = await session.bookmark()
        driver.pgconn.untrace()
    return token, (folder / "trace").read_text().count("ReadyForQuery")


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_commit_brings_its_position_along(servers: PostgreSQL, tmp_path: Path) -> None:
    emails = select(User.email).order_by(User.id)
    options = {"pool_size": 1, "max_overflow": 0}
    async with servers.migrated(engine_options=options) as db:
        async with db.session() as session:
            for number, email in enumerate(["ada", "bob", "cyd"], 1):
                token, trips = await commit(session, email, tmp_path)
                assert trips == 1
                async with db.session(token) as later:
                    assert len((await later.scalars(emails)).all()) == number
            await session.execute(text("DEALLOCATE ALL"))  # and what is asked is prepared no more
            token, trips = await commit(session, "dan", tmp_path)
            assert trips > 1
            _, trips = await commit(session, "eve", tmp_path)
            assert trips == 1
        async with db.session(token) as later:
            assert (await later.scalars(emails)).all()[:4] == ["ada", "bob", "cyd", "dan"]


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_who_sends_while_another_task_commits_waits(servers: PostgreSQL) -> None:
    """psycopg's connections may be used by several tasks at once."""
    async with servers.migrated() as db, db.session() as session:
        session.add(User(email="ada"))
        await session.flush()
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        committing = asyncio.create_task(driver.commit())
        await asyncio.sleep(0)  # it begins
        await driver.execute("SELECT 1")
        await committing


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_a_commit_of_nothing_is_not_sent(servers: PostgreSQL) -> None:
    said: list[str] = []
    async with servers.migrated() as db, db.session() as session:
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        driver.add_notice_handler(lambda notice: said.append(notice.message_primary))
        await session.commit()
    assert said == []


class Wire:
    """A way to a server on which the answers are counted, for each connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: Counter[int] = Counter()
        """How often the server said that it is ready, once for each round trip."""
        self.read: set[int] = set()
        """The connections on which the users were read."""
        self._numbers = count()
        self.listener = Listener(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        there = asyncio.create_task(self._pass(reader, far_writer, number, to_server=True))
        try:
            await self._pass(far_reader, writer, number, to_server=False)
        finally:
            far_writer.transport.abort()
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        *,
        to_server: bool,
    ) -> None:
        while data := await reader.read(65536):
            if to_server and b"FROM users" in data:
                self.read.add(number)
            if not to_server:  # ReadyForQuery, in no transaction or in one
                self.answers[number] += len(re.findall(rb"Z\x00\x00\x00\x05[ITE]", data))
            writer.write(data)

    def trips(self) -> int:
        """Round trips on the connections that users were read on."""
        return sum(self.answers[number] for number in self.read)


@pytest.mark.parametrize("servers", ["asyncpg", "psycopg"], indirect=True)
@pytest.mark.parametrize("constraint", ["bookmark", "first-primary", None])
async def test_a_routed_read_is_one_round_trip(servers: PostgreSQL, constraint: str | None) -> None:
    """And no other is sent, to no other server: knowledge of the servers proves enough."""
    async with servers.migrated() as db, db.session() as session:
        session.add(User(email="ada"))
        await session.commit()
        token = await session.bookmark()
    servers.cluster.caught_up()
    wires = [Wire(server.port) for server in servers.cluster.servers]
    async with AsyncExitStack() as stack:
        for wire in wires:
            await stack.enter_async_context(wire.listener)
        primary, replica, _ = (
            make_url(url).set(port=wire.listener.port)
            for url, wire in zip([servers.url, *servers.replica_urls], wires, strict=True)
        )
        options = {"pool_size": 1, "max_overflow": 0}
        async with Database(primary, replicas=[replica], engine_options=options, max_wait=60) as db:
            start = token if constraint == "bookmark" else constraint
            trips = []
            for _ in range(20):  # the first ones connect, and prepare the statement
                before = sum(wire.trips() for wire in wires)
                async with db.session(start) as session:
                    user = await session.get(User, 1)
                assert user is not None and user.email == "ada"
                trips.append(sum(wire.trips() for wire in wires) - before)
            # One that is held up by other programs is tried first: it was idle.
            assert min(trips) == Counter(trips).most_common(1)[0][0] == 1, trips
