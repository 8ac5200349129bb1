"""What a commit sends, by psycopg."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models import User
from tests.conftest import PostgreSQL


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_commit_brings_its_position_along(servers: PostgreSQL, tmp_path: Path) -> None:
    """libpq writes down each message; a round trip ends with the server's ReadyForQuery."""
    async with servers.migrated() as db, db.session() as session:
        session.add(User(email="ada"))
        await session.flush()
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        with (tmp_path / "trace").open("wb") as trace:
            driver.pgconn.trace(trace.fileno())
            await session.commit()
            token = await session.bookmark()
            driver.pgconn.untrace()
        assert (tmp_path / "trace").read_text().count("ReadyForQuery") == 1
        async with db.session(token) as later:
            assert (await later.scalars(select(User.email))).all() == ["ada"]
