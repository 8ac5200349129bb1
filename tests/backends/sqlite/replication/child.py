"""A process of its own, for the tests to kill: ``child.py replicate|breed|write …``."""

import os
import sqlite3
import sys
import threading
from pathlib import Path

from orm.backends.sqlite.replication import Replicator


def replicate(source: Path, replica: Path, rebuild: str) -> None:
    """Replicate until stdin ends; say when it is ready and when it leads."""
    replicator = Replicator(source, replica, poll=0.001)
    replicator.start()
    tick = threading.Event()
    said = None
    threading.Thread(target=lambda: (sys.stdin.read(), tick.set()), daemon=True).start()
    while not tick.wait(0.005):
        if replicator.leading != said:
            said = replicator.leading
            print("leading" if said else "standing by", flush=True)  # noqa: T201
        if rebuild == "rebuild":
            replicator.rebuild()
    replicator.stop()


def breed(source: Path, replica: Path, rebuild: str) -> None:
    """For each line on stdin a new process that replicates; say which, and when it is dead."""
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            print(os.getpid(), flush=True)  # noqa: T201
            replicate(source, replica, rebuild)
        os.waitpid(child, 0)
        print("dead", flush=True)  # noqa: T201


def write(source: Path, rounds: str) -> None:
    """Commit as a program does that knows nothing of replication: rows, schema, VACUUM."""
    connection = sqlite3.connect(source, timeout=10, isolation_level=None)
    for number in range(int(rounds)):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE counter SET n = n + 1")
        connection.execute("UPDATE credit SET n = n + ?", (number,))
        if number % 5 == 0:
            connection.execute(f"CREATE TABLE extra_{number} AS SELECT randomblob(20000) AS b")
        if number % 5 == 4:
            connection.execute(f"DROP TABLE extra_{number - 4}")
        connection.execute("UPDATE debit SET n = n - ?", (number,))
        connection.execute("COMMIT")
        if number % 10 == 9:
            connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    task, source, *rest = sys.argv[1:]
    if task == "write":
        write(Path(source), rest[0])
    else:
        {"replicate": replicate, "breed": breed}[task](Path(source), Path(rest[0]), rest[1])
