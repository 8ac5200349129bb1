"""As `test_unsafe_cluster`, with what shows on MariaDB and MySQL only after a failover.

What shows without one is caught by `orm verify`: see `tests/testing/consistency/test_teeth.py`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, column, func, select, table, text

from orm import Database, WriteLost
from orm.backends.lineage import latest
from orm.backends.mysql import MySQLBackend, position, roles
from orm.bookmark import Bookmark
from orm.testing.mysql import Cluster
from tests.conftest import started

Patch = Callable[[pytest.MonkeyPatch], Any]

ROWS = select(func.max(column("n"))).select_from(table("seen"))
MORE = 100
"""Transactions of the new primary: its numbers are beyond all those of the old one then."""


@pytest.fixture(params=["mariadb", "mysql"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with started(request.param) as cluster, cluster.database() as name:
        for server in cluster.servers:
            server.database = name
        yield cluster


def no_terms(patch: pytest.MonkeyPatch) -> None:
    """A position is the number of a transaction, whichever primary wrote it."""
    right = position._bookmark

    def without_terms(state: Any, at: dict[int, int], shown: int = 0) -> Bookmark | None:
        return right(state, {1: max(at.values())} if at else at, shown)

    patch.setattr(position, "_bookmark", without_terms)
    patch.setattr(roles, "lost", lambda *_: None)


def waiting_is_believed(patch: pytest.MonkeyPatch) -> None:
    """The end of MASTER_GTID_WAIT, which looks at numbers alone, is taken for a position."""
    right, believed = MySQLBackend.position, "test.believed"

    def wait_until(
        self: MySQLBackend, connection: Connection, need: Bookmark, seconds: float
    ) -> bool:
        gtid = f"0-1-{latest(need)}"
        if connection.scalar(text(f"SELECT MASTER_GTID_WAIT('{gtid}', {seconds})")) == 0:
            connection.info[believed] = need
        return True

    def position(self: MySQLBackend, connection: Connection) -> Bookmark | None:
        at = right(self, connection)
        return connection.info.get(believed, at)

    patch.setattr(MySQLBackend, "wait_until", wait_until)
    patch.setattr(MySQLBackend, "position", position)
    patch.setattr(roles, "lost", lambda *_: None)


VARIANTS: dict[str, tuple[Patch | None, tuple[str, ...]]] = {
    "library": (None, ("mariadb", "mysql")),
    "no terms": (no_terms, ("mariadb", "mysql")),
    # MySQL's wait names the writer: it is deceived only once an old primary is back.
    "waiting is believed": (waiting_is_believed, ("mariadb",)),
}


@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_lost_write_that_is_taken_to_be_there_is_caught(
    variant: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, flavours = VARIANTS[variant]
    if cluster.flavour not in flavours:
        pytest.skip("the variant is as the library there")
    old, (new, other) = cluster.primary, cluster.standbys
    old.sql("CREATE TABLE seen (n int primary key)")
    old.sql("INSERT INTO seen VALUES (0)")
    if patch is not None:
        patch(monkeypatch)
    async with Database(old.url()) as db:
        cluster.caught_up()  # with the first term
        new.partition()
        other.partition()
        async with db.begin() as session:
            await session.execute(text("UPDATE seen SET n = 1"))
        token = await session.bookmark()
    cluster.promote(new)
    other.follow(new)
    async with Database(new.url()):
        pass  # its term begins
    for number in range(MORE):
        new.sql(f"INSERT INTO seen VALUES (-{number + 1})")
    other.caught_up(new)
    async with (
        Database(new.url(), replicas=[other.url()], max_wait=5.0) as db,
        db.session(token) as session,
    ):
        if patch is not None:
            assert await session.scalar(ROWS) == 0
        else:
            with pytest.raises(WriteLost):
                await session.scalar(ROWS)
