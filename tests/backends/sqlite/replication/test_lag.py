"""Lag and pause: what lands, and when."""

import logging
import os
import time
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import Replicator, remarks
from tests.backends.sqlite.replication.support import (
    Ledger,
    Replicate,
    eventually,
    holds_a_snapshot,
    look,
)


def test_what_lands_is_the_source_as_it_was(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate(poll=0.001)
    replicator.lag = 0.4
    began = time.monotonic()
    ledger.commit()
    eventually(lambda: holds_a_snapshot(ledger))
    ledger.commit()
    before = landings.count
    landings.until(lambda: landings.count > before)
    assert time.monotonic() - began >= 0.4
    assert look(replica) == 1
    landings.until(lambda: look(replica) == 2)
    assert time.monotonic() - began >= 0.8


def test_a_new_lag_counts_for_a_wait_under_way(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate(poll=0.001)
    replicator.lag = 3600
    ledger.commit()
    eventually(lambda: holds_a_snapshot(ledger))
    assert look(replica) == 0
    replicator.lag = 0
    landings.until(lambda: look(replica) == 1)


def test_pause_ends_a_wait_and_lets_go_of_the_snapshot(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate(poll=0.001)
    replicator.lag = 3600
    ledger.commit()
    eventually(lambda: holds_a_snapshot(ledger))
    replicator.pause()
    assert replicator.paused
    assert not holds_a_snapshot(ledger)
    replicator.lag = 0
    ledger.commit()
    time.sleep(0.05)
    assert look(replica) == 0
    replicator.resume()
    assert not replicator.paused
    landings.until(lambda: look(replica) == 2)


def test_nothing_lands_once_pause_has_returned(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, _ = replicate(poll=0.001)
    for number in range(100):
        ledger.commit()
        replicator.wake()
        time.sleep(number % 10 / 2000)  # to meet every part of a pass
        replicator.pause()
        before = look(replica), files(replica)
        time.sleep(0.002)
        assert (look(replica), files(replica)) == before
        replicator.resume()


def test_pause_and_stop_undo_a_copy_in_progress(tmp_path: Path, replicate: Replicate) -> None:
    ledger = Ledger(tmp_path / "large.db", rows=20_000)
    replica = tmp_path / "replica.db"
    for end in (Replicator.pause, Replicator.stop):
        for _ in range(50):  # on a busy machine a copy may be over before this thread goes on
            replicator, _ = replicate(ledger.file, poll=0.001)
            wal = Path(f"{replica.resolve()}-wal")
            before = wal.stat()
            number = ledger.commit()
            replicator.wake()
            while wal.stat().st_mtime_ns == before.st_mtime_ns:
                pass
            end(replicator)
            seen = look(replica)
            replicator.stop()
            if seen == number - 1:
                break
        else:
            pytest.fail("no copy was undone")
    ledger.close()


def files(replica: Path) -> list[tuple[str, int, int]]:
    """What the file system knows of a replica, but for the -shm in which readers leave marks."""
    return sorted(
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for entry in os.scandir(replica.parent)
        if entry.name.startswith(replica.name) and not entry.name.endswith("-shm")
    )


def test_a_lag_is_a_number_of_seconds(ledger: Ledger, replica: Path) -> None:
    replicator = Replicator(ledger.file, replica)
    for seconds in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="number of seconds"):
            replicator.lag = seconds
    replicator.lag = 2
    assert replicator.lag == 2.0


def test_a_lag_that_lets_the_source_s_wal_grow_says_so_once(
    ledger: Ledger,
    replicate: Replicate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remarks, "_PINNED", 1)
    replicator, landings = replicate(poll=0.001)
    replicator.lag = 0.01
    for _ in range(3):
        before = landings.count
        ledger.commit()
        landings.until(lambda before=before: landings.count > before)
    said = [r for r in caplog.records if "keeps the WAL" in r.message]
    assert [r.levelno for r in said] == [logging.WARNING]
