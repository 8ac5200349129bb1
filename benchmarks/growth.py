"""How each cost grows with the size of what it depends on: ``python -m benchmarks.growth``.

Processor time of this process, which other programs disturb little, and the least of several runs;
but for copies of a file, which take time of the disk, too.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import click
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text

from benchmarks.data import create, scratch_space, url_of
from models import Post, User
from orm import Bookmark, Database
from orm.backends.postgresql import roles
from orm.servers.knowledge import Knowledge

RUNS = 5


@dataclass(frozen=True)
class Growth:
    """A cost, and what it depends on."""

    what: str
    unit: str
    sizes: tuple[int, ...]
    measure: Callable[[Path, int], AsyncIterator[float]]
    """Measures the cost at a size, again and again: the least counts."""


async def read(db: Database) -> None:
    async with db.session() as session:
        (await session.scalars(select(Post).where(Post.id == 7))).one()


async def sessions_at_once(folder: Path, size: int) -> AsyncIterator[float]:
    """A read in each of so many sessions that are open at once: microseconds a session."""
    await create(folder / "app.db")
    async with Database(url_of(folder / "app.db")) as db:
        for _ in range(RUNS):
            yield await _cpu(lambda: _all_of(partial(read, db), size), size)


async def replicas(folder: Path, size: int) -> AsyncIterator[float]:
    """A read with so many replicas to choose from: microseconds."""
    await create(folder / "app.db")
    async with Database(url_of(folder / "app.db"), replicas=1) as one:
        copy = one.cluster.replicas[0].url
        async with Database(url_of(folder / "app.db"), replicas=[copy] * size) as db:
            for replica in db.cluster.replicas:
                await replica.probe()
            await read(db)
            for _ in range(RUNS):
                yield await _cpu(lambda: _in_turn(partial(read, db), 200), 200)


async def waiting_readers(folder: Path, size: int) -> AsyncIterator[float]:
    """News of a replica while so many sessions wait for it: microseconds a session that waits."""
    await create(folder / "app.db")
    async with Database(url_of(folder / "app.db"), replicas=1) as db:
        [replica] = db.cluster.replicas
        known = replica.knowledge.at
        assert known is not None
        need = Bookmark.at(known.history, dict(known.position)[""] + 1_000_000)
        watcher = db.cluster.watcher
        waits = [asyncio.create_task(watcher.wait(need, [replica], 60)) for _ in range(size)]
        while watcher.waiting < size:  # noqa: ASYNC110 - each of them has to come so far
            await asyncio.sleep(0.01)

        async def news() -> None:
            for _ in range(20):
                replica.on_change()
                await asyncio.sleep(0)

        for _ in range(RUNS):
            yield await _cpu(news, 20 * size)
        replica.knowledge = Knowledge(replica.knowledge.incarnation, need, None)
        replica.on_change()
        await asyncio.gather(*waits)


async def failovers(_: Path, size: int) -> AsyncIterator[float]:
    """The token of a chain of bookmarks that has lived through so many: characters."""
    at = Bookmark("7300000000000000001", (("1", 1 << 40),))
    for timeline in range(2, size + 2):
        at = at.merge(Bookmark(at.history, ((str(timeline), (1 << 40) + timeline),)))
        at = roles.without_oldest(at)  # as a session does, once a server has all of it
    yield float(len(at.encode([b"a secret key"])))


async def megabytes(folder: Path, size: int) -> AsyncIterator[float]:
    """From a commit until an embedded replica has it, by size of the file: milliseconds."""
    await create(folder / "app.db", size)
    async with Database(url_of(folder / "app.db"), replicas=1) as db:
        [replica] = db.cluster.replicas
        for number in range(2 * RUNS):
            async with db.session() as session:
                session.add(User(email=f"{number}@example.org"))
                await session.commit()
                began = perf_counter()
                need = Bookmark.decode(await session.bookmark())
            await db.cluster.watcher.wait(need, [replica], 60)
            yield (perf_counter() - began) * 1e3
            await asyncio.sleep(0.1)


async def rows_of_a_rebuild(folder: Path, size: int) -> AsyncIterator[float]:
    """What SQLite does where ALTER TABLE cannot: a new table, a copy: microseconds a row."""
    metadata = MetaData()
    old = Table(
        "people",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(50), nullable=False),
    )
    async with Database(url_of(folder / "app.db")) as db, db.connect() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(old), [{"name": f"Person {n}"} for n in range(size)])
        await connection.commit()

        async def rebuild() -> None:
            for sql in (
                "CREATE TABLE anew (id INTEGER PRIMARY KEY, name VARCHAR(80) NOT NULL)",
                "INSERT INTO anew SELECT * FROM people",
                "DROP TABLE people",
                "ALTER TABLE anew RENAME TO people",
            ):
                await connection.execute(text(sql))
            await connection.commit()

        for _ in range(RUNS):
            yield await _cpu(rebuild, size)


async def _all_of(work: Callable[[], Awaitable[None]], number: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(work())  # type: ignore[arg-type]


async def _in_turn(work: Callable[[], Awaitable[None]], number: int) -> None:
    for _ in range(number):
        await work()


async def _cpu(work: Callable[[], Awaitable[None]], parts: int) -> float:
    """Microseconds of a processor for each part of some work."""
    gc.collect()
    began = process_time()
    await work()
    return (process_time() - began) / parts * 1e6


KINDS = [
    Growth("sessions at once, a read in each", "us", (1, 10, 100, 1000), sessions_at_once),
    Growth("replicas to choose from, a read", "us", (1, 4, 16), replicas),
    Growth("sessions that wait, each news", "us", (10, 100, 1000), waiting_readers),
    Growth("failovers of a chain, its token", "characters", (0, 1, 16, 32, 1000), failovers),
    Growth("megabytes of a SQLite file, a copy", "ms", (1, 10, 30, 100, 300), megabytes),
    Growth("rows of a rebuild on SQLite", "us", (10_000, 100_000, 1_000_000), rows_of_a_rebuild),
]


async def _least(kind: Growth, size: int) -> float:
    with TemporaryDirectory(prefix="bookmark-orm-", dir=scratch_space()) as folder:
        return min([cost async for cost in kind.measure(Path(folder), size)])


@click.command()
@click.option("--only", default="", help="Costs with this in their name.")
def main(only: str) -> None:
    """Print what each cost is at several sizes."""
    for kind in KINDS:
        if only in kind.what:
            click.echo(f"{kind.what}:")
            for size in kind.sizes:
                click.echo(f"  {size:>9,}  {asyncio.run(_least(kind, size)):9.1f} {kind.unit}")


if __name__ == "__main__":
    main()
