"""Random faults of the embedded replicas, their files, the schema, the disk and other programs."""

import asyncio
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orm.backends.sqlite.replication import incarnation
from orm.database import Database
from orm.testing.control import ReplicaControl, replicas

__all__ = ["FAULTS", "Nemesis"]

FAULTS: Final = "lag pause rebuild delete unlink truncate schema outside lock full".split()
"""What it can do to an embedded database."""

_SHORTEST, _LONGEST = 0.005, 0.12  # seconds from one fault to the next, and that one lasts
_SMALLEST: Final = 128 * 1024  # bytes that a file may have on a full disk; the board has less


class Nemesis:
    """Injects faults into a running database.

    Args:
        database: with embedded replicas.
        faults: which of `FAULTS`.
        seed: of when, where and what.
    """

    def __init__(self, database: Database, faults: Sequence[str], seed: str) -> None:
        self._database = database
        self._faults = faults
        self._chance = random.Random(f"{seed}/nemesis")
        self._source = Path(str(database.cluster.primary.url.database)).absolute()
        self.done: Counter[str] = Counter()
        """How often each fault was done."""

    async def run(self, go_on: Callable[[], bool]) -> None:
        """One fault after the other, for as long as it is to; all healed in the end."""
        controls = replicas(self._database)
        while go_on() and self._faults:
            await self._rest()
            fault = self._chance.choice(self._faults)
            do: Callable[[ReplicaControl], Awaitable[None]] = getattr(self, f"_{fault}")
            await do(self._chance.choice(controls))
            self.done[fault] += 1
        for control in controls:
            control.lag = 0.0

    async def _rest(self) -> None:
        await asyncio.sleep(self._chance.uniform(_SHORTEST, _LONGEST))

    async def _lag(self, replica: ReplicaControl) -> None:
        replica.lag = self._chance.choice([0.0, self._chance.uniform(0, 0.2)])

    async def _pause(self, replica: ReplicaControl) -> None:
        await replica.pause()
        await self._rest()
        await replica.resume()

    async def _rebuild(self, replica: ReplicaControl) -> None:
        self._database.embedded[int(replica.name[-1]) - 1].rebuild()

    async def _delete(self, replica: ReplicaControl) -> None:
        """The file that is read, and its WAL."""
        for file in self._files(replica):
            file.unlink(missing_ok=True)

    async def _unlink(self, replica: ReplicaControl) -> None:
        """The name that leads to the file."""
        replica.file.unlink(missing_ok=True)

    async def _truncate(self, replica: ReplicaControl) -> None:
        for file in self._files(replica)[:1]:
            with suppress(FileNotFoundError):  # it has just been swept away
                os.truncate(file, self._chance.randrange(file.stat().st_size or 1))

    def _files(self, replica: ReplicaControl) -> list[Path]:
        name = incarnation(replica.file)
        files = [replica.file.with_name(f"{name}{end}") for end in ("", "-wal")] if name else []
        return [file for file in files if file.exists()]

    async def _schema(self, _: ReplicaControl) -> None:
        table = f"extra_{self._chance.randrange(3)}"
        ddl = [f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)"]
        try:
            async with self._database.begin() as session:
                for statement in ddl:
                    await session.execute(text(statement))
        except (DBAPIError, PoolTimeout):
            self.done["schema, refused"] += 1  # another client writes

    async def _outside(self, _: ReplicaControl) -> None:
        """Another program writes, which counts no positions."""
        await asyncio.to_thread(self._elsewhere, 0.0)

    async def _lock(self, _: ReplicaControl) -> None:
        """Another program holds the write lock."""
        await asyncio.to_thread(self._elsewhere, self._chance.uniform(_SHORTEST, _LONGEST))

    async def _full(self, _: ReplicaControl) -> None:
        """The disk is: what SQLite writes beyond some place fails."""
        import resource  # there is none on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        wal = self._source.with_name(f"{self._source.name}-wal")
        grown = wal.stat().st_size if wal.exists() else 0
        size = _SMALLEST + int(self._chance.random() * grown)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            await self._rest()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def _elsewhere(self, seconds: float) -> None:
        uri = f"{self._source.as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("CREATE TABLE IF NOT EXISTS outside (n)")
            other.execute("INSERT INTO outside VALUES (1)")
            other.execute("SELECT count(*) FROM outside").fetchone()
            time.sleep(seconds)
            other.execute("COMMIT")
