"""What routed sessions cost on PostgreSQL, beside plain ones on the same servers."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks.delay import delayed
from benchmarks.rounds import Comparison, compare
from benchmarks.sessions import NewSession, insert_one, select_one, select_ten
from models import Base, Post, User
from orm import Database
from orm.testing import caught_up
from orm.testing.postgresql import Cluster

__all__ = ["CASES", "HEADING", "Case", "insert_and_read", "measure", "measure_on"]

HEADING = f"{'plain':>10}{'ours':>10}{'ratio':>9}{'middle half':>15}"

_numbers = count(1)


async def insert_and_read(new: NewSession) -> None:
    """Commit, and read what was committed back in a transaction of its own."""
    async with new() as session:
        user = User(email=f"{next(_numbers)}@example.com")
        session.add(user)
        await session.flush()
        key = user.id
        await session.commit()
        (await session.scalars(select(User).where(User.id == key))).one()


@dataclass(frozen=True)
class Case:
    """An operation, and what it is compared with."""

    name: str
    driver: str
    operation: Callable[[NewSession], Awaitable[None]]
    aim: float | None
    on: Literal["replica", "primary"]
    was: float | None = None
    pairs: int = 20
    latency: float = 0.0

    @property
    def note(self) -> str:
        what = "AUTOCOMMIT on the same replica" if self.on == "replica" else "on the primary alone"
        far = f"; {self.latency * 1000:g} ms between client and primary" if self.latency else ""
        return f"plain: {self.driver}, {what}{far}"


def _cases(driver: Literal["asyncpg", "psycopg"]) -> list[Case]:
    read = partial(Case, driver=driver, on="replica")
    write = partial(Case, driver=driver, on="primary")
    was = iter((1.05, 1.05, 1.22, 1.25) if driver == "asyncpg" else (1.04, 1.05, 1.10, 1.19))
    return [
        read(f"{driver}: select by key", operation=select_one, aim=1.03, was=next(was)),
        read(f"{driver}: ten selects", operation=select_ten, aim=1.05, was=next(was), pairs=5),
        write(f"{driver}: insert and commit", operation=insert_one, aim=1.10, was=next(was)),
        write(f"{driver}: insert, read back", operation=insert_and_read, aim=None, was=next(was)),
        write(
            f"{driver}: the same, primary far", operation=insert_and_read, aim=None, pairs=5,
            latency=0.04,
        ),
    ]  # fmt: skip


CASES = [*_cases("asyncpg"), *_cases("psycopg")]


async def measure(case: Case, folder: Path, *, quick: bool) -> Comparison:
    """Compare a routed session with a plain one, on a primary with one standby.

    Args:
        case: what.
        folder: not used: the cluster has one of its own.
        quick: fewer rounds.
    """
    with Cluster(standbys=1) as cluster:
        return await measure_on(cluster, case, quick=quick)


async def measure_on(cluster: Any, case: Case, *, quick: bool) -> Comparison:
    """Compare them on the servers of a cluster of any engine.

    Args:
        cluster: with one replica, and an empty database.
        case: what.
        quick: fewer rounds.
    """
    far = bool(case.latency)
    [standby] = cluster.standbys
    primary, replica = cluster.primary.url(case.driver), standby.url(case.driver)
    async with Database(primary) as db, db.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
        async with db.begin() as session:
            author = User(email="ada@example.org")
            session.add(author)
            await session.flush()
            session.add_all(
                Post(user_id=author.id, title=f"Post {n}", body="x" * 3000) for n in range(20)
            )
    cluster.caught_up()
    async with AsyncExitStack() as stack:
        if far:
            port = await stack.enter_async_context(delayed(cluster.primary.port, case.latency))
            primary = make_url(primary).set(port=port).render_as_string()
        if case.on == "replica":
            plain = create_async_engine(
                replica, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
            )
        else:
            plain = create_async_engine(primary)
        stack.push_async_callback(plain.dispose)
        db = await stack.enter_async_context(Database(primary, replicas=[replica]))
        writes = case.on == "primary"
        return await compare(
            lambda: case.operation(lambda: AsyncSession(plain)),
            lambda: case.operation(db.session),
            settle=partial(caught_up, db) if writes and not far else None,
            rounds=(3 if far else 15) if quick else (10 if far else 60),
            pairs=case.pairs,
        )
