"""What cannot work says so; what can work again does."""

import logging
import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import Replicator, incarnation, remarks
from tests.backends.sqlite.replication.support import (
    Ledger,
    Replicate,
    connect,
    eventually,
    look,
)


def test_a_source_that_is_away_for_a_moment_is_waited_for(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    ledger.close()
    away = ledger.file.with_name("away.db")
    ledger.file.rename(away)
    eventually(lambda: replicator.error is not None)
    assert "missing" in str(replicator.error)
    assert look(replica) == 1
    assert not ledger.file.exists()
    away.rename(ledger.file)
    eventually(lambda: replicator.error is None)
    again = Ledger.open(ledger.file)
    again.commit()
    landings.until(lambda: look(replica) == 2)
    again.close()


def test_a_source_overwritten_with_garbage_is_not_copied(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, _ = replicate()
    ledger.close()
    garbage = ledger.file.with_name("garbage")
    garbage.write_bytes(os.urandom(100_000))
    os.replace(garbage, ledger.file)
    for suffix in ("-wal", "-shm"):
        Path(f"{ledger.file}{suffix}").unlink()
    eventually(lambda: replicator.error is not None)
    assert "not a database" in str(replicator.error)
    assert look(replica) == 0


def test_a_replica_that_another_program_writes_to_is_made_anew(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    before = incarnation(replica)
    with closing(connect(replica)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        ledger.commit()
        landings.until(lambda: look(replica) == 1)
        assert incarnation(replica) != before
    eventually(lambda: replicator.error is None)


def test_a_failing_callback_is_logged_and_stops_nothing(
    ledger: Ledger, replica: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def landed() -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise SystemExit("from the callback")

    replicator = Replicator(ledger.file, replica, landed=landed)
    replicator.start()
    try:
        ledger.commit()
        eventually(lambda: isinstance(replicator.error, SystemExit))
        [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert record.name == "orm.replication"
        assert record.exc_info is not None
        assert record.exc_info[1] is replicator.error
        time.sleep(0.1)
        assert calls == 2  # no second copy for its sake
        for number in (2, 3):
            ledger.commit()
            eventually(lambda number=number: look(replica) == number)
        eventually(lambda: replicator.error is None)
    finally:
        replicator.stop()


def test_the_same_trouble_is_logged_once(
    ledger: Ledger, replicate: Replicate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "orm.replication")
    replicator, _ = replicate(poll=0.001)
    ledger.close()
    away = ledger.file.with_name("away.db")
    ledger.file.rename(away)
    for _ in range(4):
        seen = replicator.error
        eventually(lambda seen=seen: replicator.error is not seen)
    away.rename(ledger.file)
    eventually(lambda: replicator.error is None)
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]


def test_trouble_is_met_less_and_less_often(ledger: Ledger, replicate: Replicate) -> None:
    replicator, _ = replicate(poll=0.001)
    ledger.close()
    ledger.file.unlink()
    eventually(lambda: replicator.error is not None)
    errors = set()
    end = time.monotonic() + 0.5
    while time.monotonic() < end or len(errors) < 3:
        errors.add(replicator.error)
        time.sleep(0.001)
    assert len(errors) < 12


def test_slow_copies_are_worth_one_remark(
    ledger: Ledger,
    replica: Path,
    replicate: Replicate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    assert caplog.records == []
    monkeypatch.setattr(remarks, "_SLOW", 0.0)
    monkeypatch.setattr(remarks, "_LARGE", 0)
    for number in (2, 3):
        ledger.commit()
        landings.until(lambda number=number: look(replica) == number)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "PostgreSQL" in record.message
