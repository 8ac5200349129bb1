"""Replicas in a test's hand: killed and revived; and what is known of servers without asking."""

from time import monotonic

import pytest
from sqlalchemy import select

from models import User
from orm import Database
from orm.exceptions import DatabaseClosed
from orm.testing import replicas

EMAILS = select(User.email)


async def test_a_killed_replica_serves_no_session_and_a_revived_one_has_all(db: Database) -> None:
    one, two = replicas(db)
    async with db.session() as session:
        await session.scalars(EMAILS)  # connections are open
    await one.kill()
    async with db.begin() as session:
        session.add(User(email="ada"))
    await two.caught_up()
    for _ in range(4):
        async with db.session() as session:
            assert (await session.scalars(EMAILS)).all() == ["ada"]
            assert session.last_route and session.last_route.server == "replica-2"
    _, killed, other = db.last_status()
    assert "does not exist" in (killed.error or "")
    assert other.error is None

    await one.revive()
    _, revived, _ = db.last_status()
    assert (revived.error, revived.behind) == (None, 0)


async def test_last_status_asks_no_server(db: Database) -> None:
    began = monotonic()
    await db.status()
    asked = db.last_status()
    took = monotonic() - began
    assert [server.behind for server in asked] == [0, 0, 0]
    assert all(server.age is not None and 0 <= server.age <= took for server in asked)
    assert asked[0].at == db.cluster.primary.knowledge.at
    with pytest.raises(DatabaseClosed, match="not started"):
        Database(db.cluster.primary.url).last_status()
