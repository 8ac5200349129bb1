"""Reads all tables after a trial, and records them as one last read."""

import asyncio

from sqlalchemy import func, select

from orm.database import Database
from orm.testing.consistency.history import Operation
from orm.testing.consistency.recorder import Recorder
from orm.testing.consistency.tables import LOG, registers, seen_in

__all__ = ["audit"]


async def audit(database: Database, recorder: Recorder) -> None:
    """Record all that is on the primary."""
    start = asyncio.get_running_loop().time()
    async with database.session("first-primary") as session, session.begin(read_only=True):
        log = (await session.execute(select(LOG.c.key, LOG.c.version, LOG.c.writer))).all()
        latest = (await session.execute(registers())).all()
        tops = select(LOG.c.key, func.max(LOG.c.version), func.count()).group_by(LOG.c.key)
        tops_of = {key: (top, count) for key, top, count in await session.execute(tops)}
    torn = [
        f"key {key} is at {version}, and its log has {tops_of.get(key, (0, 0))}"
        for key, version, _ in latest
        if tops_of.get(key, (0, 0)) != (version, version)
    ]
    operation = Operation(
        id="audit",
        session="audit",
        kind="audit",
        start=start,
        end=asyncio.get_running_loop().time(),
        reads=tuple(map(seen_in, log)),
        torn="; ".join(torn),
        server=database.cluster.primary.name,
    )
    recorder.write(operation)
