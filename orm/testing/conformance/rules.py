"""What the rules for all parts of a backend stand on: a table, and control of the replicas."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orm.backends import Backend
from orm.bookmark import Bookmark
from orm.database import Database
from orm.servers.server import Server
from orm.testing.control import caught_up, paused

__all__ = [
    "ABSENT",
    "ALL",
    "METADATA",
    "ROWS",
    "Rules",
    "part",
    "rows",
    "seen_on",
    "servers",
    "written",
]

METADATA: Final = MetaData()
ROWS: Final = Table(
    # Without it MySQL takes 0 for the next free number.
    "orm_conformance",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
)
ALL: Final = select(ROWS.c.id).order_by(ROWS.c.id)
ABSENT: Final = text("SELECT 1 FROM orm_conformance_absent")
"""A statement that fails, on a server that is well."""

Check = Callable[[Database], Awaitable[None]]
_T = TypeVar("_T")


class Rules:
    """What a subclass says of its servers, and how a rule is tried on them."""

    one_writer = False
    """Whether one transaction that writes keeps all others waiting until it ends."""

    def paused(self, database: Database) -> AbstractAsyncContextManager[object]:
        """Inside the block no replica shows anything new."""
        return paused(database)

    async def caught_up(self, database: Database) -> None:
        """Return when all replicas have all that the primary has at this moment."""
        await caught_up(database)

    def _run(self, database: Database, check: Check) -> None:
        """Try a rule on the running database, in which the table is new and empty."""

        async def within() -> None:
            async with database as db:
                async with db.connect() as connection:
                    await connection.run_sync(METADATA.drop_all)
                    await connection.run_sync(METADATA.create_all)
                    await connection.commit()
                await self.caught_up(db)
                try:
                    await check(db)
                finally:
                    async with db.connect() as connection:
                        await connection.run_sync(METADATA.drop_all)
                        await connection.commit()

        asyncio.run(within())


def part(found: _T | None, name: str) -> _T:
    """An optional part of a backend; the rule is skipped where there is none."""
    if found is None:
        pytest.skip(f"this backend has no {name}")
    return found


def servers(db: Database) -> list[Server]:
    """The primary, and then the replicas."""
    return [db.cluster.primary, *db.cluster.replicas]


async def written(db: Database, row: int) -> str:
    """Commit a row; the bookmark after it."""
    async with db.connect() as connection:
        await connection.execute(insert(ROWS).values(id=row))
        await connection.commit()
        return await connection.bookmark()


async def seen_on(connection: AsyncConnection, backend: Backend) -> Bookmark:
    """What `Backend.seen` says, as soon as it says anything: not while a replica replays, say."""
    async with asyncio.timeout(30):
        while (seen := await connection.run_sync(backend.seen)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return seen


async def rows(on: Server | AsyncEngine) -> list[int]:
    """What a server, or an engine, shows."""
    engine = on.engine if isinstance(on, Server) else on
    async with engine.connect() as connection:
        return list((await connection.scalars(ALL)).all())
