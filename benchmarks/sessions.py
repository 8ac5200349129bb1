"""What a routed session costs beside a plain `AsyncSession` that does the same."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.data import create, url_of
from benchmarks.rounds import Comparison, compare
from models import Post, User
from orm import Database
from orm.backends.sqlite import one_visit
from orm.testing import caught_up

__all__ = ["CASES", "HEADING", "Case", "measure"]

HEADING = f"{'plain':>10}{'ours':>10}{'ratio':>9}{'middle half':>15}"

NewSession = Callable[[], AsyncSession]

_numbers = count(1)


# What is done ------------------------------------------------------------------------------


async def select_one(new: NewSession) -> None:
    async with new() as session:
        (await session.scalars(select(Post).where(Post.id == 7))).one()


async def select_ten(new: NewSession) -> None:
    async with new() as session:
        for key in range(1, 11):
            (await session.scalars(select(Post).where(Post.id == key))).one()


async def insert_one(new: NewSession) -> None:
    async with new() as session:
        session.add(User(email=f"{next(_numbers)}@example.org"))
        await session.commit()


async def insert_ten(new: NewSession) -> None:
    for _ in range(10):
        await insert_one(new)


# With what it is done in plain SQLAlchemy --------------------------------------------------

_PRAGMAS = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"


def autocommit(file: Path) -> AsyncEngine:
    """For reads as ours do them: no transactions, and nothing to roll back at the end."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true",
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    return _set_up(engine, f"PRAGMA query_only = ON; {_PRAGMAS}")


def default(file: Path, **options: Any) -> AsyncEngine:
    """What `create_async_engine` gives: the driver begins before it writes, and not before."""
    return _set_up(create_async_engine(url_of(file), **options), _PRAGMAS)


def immediate(file: Path) -> AsyncEngine:
    """What an application needs that reads before it writes: the lock, from the beginning on."""
    engine = create_async_engine(url_of(file), connect_args={"isolation_level": None})
    event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return _set_up(engine, _PRAGMAS)


def _set_up(engine: AsyncEngine, pragmas: str) -> AsyncEngine:
    def run(connection: Any, _: object) -> None:
        connection.run_async(lambda driver: driver.executescript(pragmas))

    event.listen(engine.sync_engine, "connect", run)  # the files are in WAL mode already
    return engine


@dataclass(frozen=True)
class Plain:
    """A way of using SQLAlchemy alone."""

    description: str
    engine: Callable[..., AsyncEngine]


AUTOCOMMIT = Plain("AUTOCOMMIT, on the same file", autocommit)
DEFAULT = Plain("the driver's default transactions", default)
IMMEDIATE = Plain("BEGIN IMMEDIATE from an event", immediate)


# The cases ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An operation, and beside what it is done."""

    name: str
    operation: Callable[[NewSession], Awaitable[None]]
    plain: Plain
    aim: float | None
    was: float | None = None
    replicas: int | None = 1
    """None: not a `Database`, but a plain session on an engine with `one_visit`."""
    pairs: int = 20
    writes: bool = False

    @property
    def note(self) -> str:
        ours = "; ours: the same, with one_visit()" if self.replicas is None else ""
        return f"plain: {self.plain.description}{ours}"


_insert = partial(Case, "insert and commit", insert_one, writes=True)
_read_alone = partial(Case, "no replicas: select by key", select_one, aim=0.85, replicas=0)
_write_alone = partial(
    Case, "no replicas: insert and commit", insert_one, aim=0.90, replicas=0, writes=True
)

CASES = [
    Case("select by key", select_one, AUTOCOMMIT, aim=0.85, was=1.06),
    Case("ten selects", select_ten, AUTOCOMMIT, aim=0.80, was=1.05, pairs=5),
    _insert(IMMEDIATE, aim=0.90, was=1.03),
    _insert(DEFAULT, aim=1.00, was=1.19),
    Case("ten inserts in a row", insert_ten, IMMEDIATE, aim=None, was=1.11, pairs=5, writes=True),
    _read_alone(AUTOCOMMIT, was=1.06),
    _read_alone(DEFAULT, was=0.84),
    _write_alone(IMMEDIATE, was=0.96),
    _write_alone(DEFAULT, was=1.21),
    Case("one_visit: select by key", select_one, DEFAULT, aim=None, replicas=None),
    Case("one_visit: insert and commit", insert_one, DEFAULT, aim=None, replicas=None, writes=True),
]


async def measure(case: Case, folder: Path, *, quick: bool) -> Comparison:
    """Compare a routed session with a plain one; where they write, each has a file of its own."""
    primary, replica, other = (folder / f"{name}.db" for name in ("app", "app.replica-1", "plain"))
    await create(primary)
    await create(other)
    async with AsyncExitStack() as stack:
        settle: Callable[[], Awaitable[object]] | None = None
        ours: NewSession
        if case.replicas is None:
            visited = case.plain.engine(primary, module=one_visit())
            stack.push_async_callback(visited.dispose)
            ours = partial(AsyncSession, visited)
        else:
            db = await stack.enter_async_context(Database(url_of(primary), replicas=case.replicas))
            ours = db.session
            if case.writes and case.replicas:
                settle = partial(caught_up, db)
        shared = replica if case.replicas else primary
        engine = case.plain.engine(other if case.writes else shared)
        stack.push_async_callback(engine.dispose)
        return await compare(
            lambda: case.operation(lambda: AsyncSession(engine)),
            lambda: case.operation(ours),
            settle=settle,
            rounds=15 if quick else 60,
            pairs=case.pairs,
        )
