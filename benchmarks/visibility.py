"""How soon a commit is visible on an embedded replica."""

import asyncio
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from benchmarks.data import create, url_of
from models import Post
from orm import Database

__all__ = ["CASES", "HEADING", "Case", "Delay", "measure"]

HEADING = f"{'p50':>10}{'p95':>10}{'':>24}"

_LOOK = 0.0005  # seconds between two looks at the replica
_PAUSE = 0.1  # seconds, at most, between a commit's arrival and the next commit


@dataclass(frozen=True)
class Case:
    """A size of database."""

    name: str
    megabytes: float
    aim: float | None = None  # milliseconds, for the half of all commits
    was: float | None = None
    note: str = "one commit at a time, at random moments"


@dataclass(frozen=True)
class Delay:
    """Milliseconds from the return of `commit()` until a reader of the replica sees the row."""

    p50: float
    p95: float

    @property
    def score(self) -> float:
        return self.p50

    def __str__(self) -> str:
        return f"{self.p50:>7.1f} ms{self.p95:>7.1f} ms{'':>24}"


CASES = [
    Case("commit to visible: 1.2 MB", 1.2),
    Case("commit to visible: 10 MB", 10, aim=40),
    Case("commit to visible: 100 MB", 100),
]


async def measure(case: Case, folder: Path, *, quick: bool) -> Delay:
    """Commit one row at a time, at random moments, and look for it on the replica."""
    primary, replica = folder / "app.db", folder / "app.replica-1.db"
    await create(primary, case.megabytes)
    delays = []
    async with Database(url_of(primary), replicas=1) as db:
        with closing(sqlite3.connect(f"file:{replica}?mode=ro", uri=True)) as reader:
            for _ in range(15 if quick else 50):
                post = Post(user_id=1, title="News", body="Is it there yet?")
                async with db.session(expire_on_commit=False) as session:
                    session.add(post)
                    await session.commit()
                committed = perf_counter()
                # A reader of its own, which is not told.
                while reader.execute("SELECT max(id) FROM posts").fetchone() < (post.id,):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK)
                delays.append((perf_counter() - committed) * 1000)
                await asyncio.sleep(random.uniform(0, _PAUSE))
    percentiles = quantiles(delays, n=20, method="inclusive")
    return Delay(p50=percentiles[9], p95=percentiles[18])
