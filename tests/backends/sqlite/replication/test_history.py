"""A file only moves forward: a source that went back in time gets a new one."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import incarnation
from tests.backends.sqlite.replication.support import Ledger, Replicate, connect, look


def restore_by_rename(source: Path, backup: Path) -> None:
    os.replace(backup, source)
    for suffix in ("-wal", "-shm"):
        Path(f"{source}{suffix}").unlink(missing_ok=True)


def restore_in_place(source: Path, backup: Path) -> None:
    with closing(connect(backup)) as old, closing(connect(source)) as new:
        old.backup(new)


@pytest.mark.parametrize("restore", [restore_by_rename, restore_in_place])
@pytest.mark.parametrize("running", [True, False])
def test_a_restored_source_gets_a_new_file(
    ledger: Ledger,
    replica: Path,
    replicate: Replicate,
    restore: Callable[[Path, Path], None],
    running: bool,
) -> None:
    ledger.keep_position("history", 1)
    replicator, landings = replicate()
    backup = ledger.file.with_name("backup.db")
    with closing(connect(backup)) as to:
        ledger.connection.backup(to)
    ledger.keep_position("history", 2)
    ledger.commit()  # the last, so that a replica that has it has the position
    landings.until(lambda: look(replica) == 1)
    before = incarnation(replica)
    if not running:
        replicator.stop()
    ledger.close()
    restore(ledger.file, backup)
    if not running:
        replicator.start()
    landings.until(lambda: look(replica) == 0)
    assert incarnation(replica) != before


@pytest.mark.parametrize(
    ("history", "sequence", "goes_on"),
    [("mine", 5, True), ("mine", 6, True), ("mine", 4, False), ("other", 9, False)],
)
def test_only_a_source_that_went_on_is_followed_in_the_same_file(
    ledger: Ledger,
    replica: Path,
    replicate: Replicate,
    history: str,
    sequence: int,
    goes_on: bool,
) -> None:
    ledger.keep_position("mine", 5)
    _, landings = replicate()
    before = incarnation(replica)
    ledger.run("BEGIN")
    ledger.run("UPDATE counter SET n = 1")
    ledger.run("UPDATE orm_position SET history = ?, sequence = ?", history, sequence)
    ledger.run("COMMIT")
    landings.until(lambda: look(replica) == 1)
    assert (incarnation(replica) == before) is goes_on


def test_a_source_that_loses_its_position_gets_a_new_file(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    ledger.keep_position("mine", 5)
    _, landings = replicate()
    before = incarnation(replica)
    ledger.run("DROP TABLE orm_position")
    landings.until(lambda: incarnation(replica) != before)
    second = incarnation(replica)
    ledger.keep_position("mine", 1)
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    assert incarnation(replica) == second
