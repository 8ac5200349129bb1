"""Another program takes the table of positions away while a `Database` is open."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from orm import Database
from orm.routing import Reason
from orm.testing import caught_up

COUNT = text("SELECT count(*) FROM t").execution_options(route="read")


@pytest.mark.parametrize("loss", ["DROP TABLE orm_position", "DELETE FROM orm_position"])
@pytest.mark.embedded
async def test_the_next_write_makes_it_anew(
    tmp_path: Path, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "app.db"
    async with Database(f"sqlite+aiosqlite:///{file}", replicas=1) as db:
        async with db.begin() as session:
            await session.execute(text("CREATE TABLE t (x)"))
        async with db.session("first-primary") as session:
            before = await session.bookmark()
        with closing(sqlite3.connect(file)) as other, other:
            other.execute(loss)
        with caplog.at_level(logging.ERROR):
            async with db.session("first-primary") as session:
                await session.execute(text("INSERT INTO t VALUES (1)"))
                await session.commit()
                after = await session.bookmark()
        assert "orm_position" in caplog.text
        assert "another program has taken it away" in caplog.text
        await caught_up(db)
        for bookmark in (before, after, None):  # none is a stranger, and a replica has them all
            async with db.session(bookmark) if bookmark else db.session() as session:
                assert await session.scalar(COUNT) == 1
                assert session.last_route is not None
                assert session.last_route.role == "replica"
                assert session.last_route.reason is (
                    Reason.CAUGHT_UP if bookmark else Reason.UNLINKED
                )
        caplog.clear()
        async with db.begin() as session:
            await session.execute(text("INSERT INTO t VALUES (2)"))
        assert not caplog.records
