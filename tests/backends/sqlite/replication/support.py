"""What the tests of replication share."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from orm.backends.sqlite.replication import Replicator

PATIENCE = 60.0
"""Seconds: an end for what never comes to be, and no measure of how fast it is."""


def connect(file: Path, mode: str = "rwc") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10
    )


class Ledger:
    """A database with an invariant: credit and debit cancel out in every committed state."""

    def __init__(self, file: Path, *, rows: int = 50, page_size: int = 4096) -> None:
        self.file = file
        self.connection = connect(file)
        if rows:
            self._create(rows, page_size)

    @classmethod
    def open(cls, file: Path) -> "Ledger":
        """One that exists."""
        return cls(file, rows=0)

    def _create(self, rows: int, page_size: int) -> None:
        self.run(f"PRAGMA page_size = {page_size}")
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = OFF")
        self.run("BEGIN")
        self.run("CREATE TABLE counter (n)")
        self.run("INSERT INTO counter VALUES (0)")
        for table in ("credit", "debit"):
            self.run(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n, pad)")
            self.connection.executemany(
                f"INSERT INTO {table} (n, pad) VALUES (?, zeroblob(1000))", [(0,)] * rows
            )
        self.run("COMMIT")

    def run(self, sql: str, *parameters: Any) -> list[Any]:
        return self.connection.execute(sql, parameters).fetchall()

    def commit(self) -> int:
        """One transaction over both tables; returns the counter."""
        self.run("BEGIN IMMEDIATE")
        [(count,)] = self.run("UPDATE counter SET n = n + 1 RETURNING n")
        self.run("UPDATE credit SET n = n + 1")
        self.run("UPDATE debit SET n = n - 1")
        self.run("COMMIT")
        return int(count)

    def keep_position(self, history: str, sequence: int) -> None:
        """As the library itself does it."""
        self.run("CREATE TABLE IF NOT EXISTS orm_position (id, history, sequence)")
        self.run("DELETE FROM orm_position")
        self.run("INSERT INTO orm_position VALUES (1, ?, ?)", history, sequence)

    def close(self) -> None:
        self.connection.close()


def balance(connection: sqlite3.Connection) -> int:
    """The counter of what a reader sees, after a look at the invariant."""
    counter, credit, debit = connection.execute(
        "SELECT (SELECT n FROM counter), (SELECT sum(n) FROM credit), (SELECT sum(n) FROM debit)"
    ).fetchone()
    assert credit + debit == 0, "a torn state"
    return int(counter)


def look(replica: Path) -> int:
    """What a reader sees who opens the replica now."""
    try:
        connection = connect(replica, "ro")
    except sqlite3.OperationalError:  # a file that was former by the time it was to be opened
        connection = connect(replica, "ro")
    with closing(connection):
        return balance(connection)


def holds_a_snapshot(ledger: Ledger) -> bool:
    """Whether a reader is at an older state, and so keeps pages from leaving the WAL."""
    ledger.run("PRAGMA user_version = 1")  # a commit whose position is not asked for
    busy, written, moved = ledger.run("PRAGMA wal_checkpoint(PASSIVE)")[0]
    return bool(busy) or moved < written


def eventually(condition: Callable[[], object]) -> None:
    """For what does not announce itself."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.002)


Replicate = Callable[..., tuple[Replicator, "Landings"]]


class Landings:
    """Counts what lands, and wakes the tests that wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.times: list[float] = []

    @property
    def count(self) -> int:
        return len(self.times)

    def __call__(self) -> None:
        with self._changed:
            self.times.append(time.monotonic())
            self._changed.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        """Look again after each landing, and only then."""
        with self._changed:
            while not condition():
                assert self._changed.wait(PATIENCE), "it never landed"


class Child:
    """`child.py` in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        root = Path(__file__).parents[4]
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("child.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def expect(self, line: str) -> None:
        assert self.says() == line

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        self.process.communicate()
        return self.process.returncode
