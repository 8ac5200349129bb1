"""What a pass lands: one committed state of the source, all of it, soon, and never an older one."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite.replication.pace import Pace
from orm.backends.sqlite.replication.source import Source
from tests.backends.sqlite.replication.support import (
    Child,
    Ledger,
    Replicate,
    balance,
    connect,
    eventually,
    look,
)


@pytest.mark.slow
def test_readers_never_see_a_torn_state_or_an_older_one(
    ledger: Ledger, replica: Path, replicate: Replicate, spawn: Callable[..., Child]
) -> None:
    replicate(poll=0.001)
    rounds = 60
    writer = spawn("write", ledger.file, rounds)
    reads = 0
    with closing(connect(replica, "ro")) as reader:
        seen = [0, 0]
        while writer.process.poll() is None or min(seen) < rounds:
            now = [balance(reader), look(replica)]
            assert now >= seen
            seen = [max(now[0], seen[0]), max(now[1], seen[1])]
            reads += 1
        assert list(reader.iterdump()) == list(ledger.connection.iterdump())
    assert writer.end() == 0
    assert reads > 20


def test_one_pass_carries_all_commits_so_far(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    replicator.pause()
    before = landings.count
    for _ in range(50):
        ledger.commit()
    replicator.resume()
    # The rows can be read a moment before the landing is told.
    landings.until(lambda: look(replica) == 50 and landings.count > before)
    assert landings.count == before + 1


def test_a_commit_is_found_without_being_announced(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    _, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)


def test_wake_makes_the_next_look_immediate(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate(poll=60)
    for number in range(1, 4):
        ledger.commit()
        replicator.wake()
        landings.until(lambda number=number: look(replica) == number)


def test_a_replica_starts_as_new_as_its_source(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    for number in range(1, 4):
        ledger.commit()
        replicator, _ = replicate()
        assert look(replica) == number
        replicator.stop()


@pytest.mark.parametrize(
    "name", ["with space", "a?b", "a#b", "100%25", "données-日本", "a&mode=rwc"]
)
def test_any_file_name_will_do(tmp_path: Path, name: str, replicate: Replicate) -> None:
    ledger = Ledger(tmp_path / f"{name}.db")
    replica = tmp_path / f"{name} replica.db"
    _, landings = replicate(ledger.file, to=replica)
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    ledger.close()


def test_the_source_may_have_any_page_size(tmp_path: Path, replicate: Replicate) -> None:
    for page_size in (512, 65536):
        ledger = Ledger(tmp_path / f"{page_size}.db", page_size=page_size)
        replica = tmp_path / "replica.db"
        replicator, landings = replicate(ledger.file)
        ledger.commit()
        landings.until(lambda replica=replica: look(replica) == 1)
        replicator.stop()
        ledger.close()


needs_thread_clocks = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="threads have no clocks of their own here"
)


def test_the_rest_that_is_owed_makes_up_for_the_work() -> None:
    least = 0.0
    while least < 0.02:  # less on a machine so busy that the work itself was mostly waiting
        outside = time.monotonic(), time.thread_time()
        pace = Pace()
        inside = time.monotonic(), time.thread_time()
        sum(range(2_000_000))
        inside = time.monotonic() - inside[0], time.thread_time() - inside[1]
        half = pace.rest(settle=False)
        settled = pace.rest(settle=True)
        outside = time.monotonic() - outside[0], time.thread_time() - outside[1]
        # The machine may be busy elsewhere between any two lines: what is owed lies between these.
        least, most = 2 * inside[1] - outside[0], 2 * outside[1] - inside[0]
    assert least <= settled <= most
    assert min(inside[1] / 2, least) <= half <= min(outside[1] / 2, most)


def test_a_pass_waits_for_the_end_of_the_rest(
    ledger: Ledger, replica: Path, replicate: Replicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicator, landings = replicate(poll=0.001)
    monkeypatch.setattr(Pace, "rest", lambda self, *, settle: 0.2)
    for number in (1, 2):
        ledger.commit()
        replicator.wake()
        landings.until(lambda number=number: look(replica) == number)
    *_, first, second = landings.times
    assert second - first > 0.19


@needs_thread_clocks
def test_copying_takes_about_half_of_a_core(tmp_path: Path, replicate: Replicate) -> None:
    ledger = Ledger(tmp_path / "large.db", rows=5000)
    replicator, landings = replicate(ledger.file, poll=0.001)
    thread = next(t for t in threading.enumerate() if t.name.startswith("replicator of"))
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    landed, used, began = landings.count, time.clock_gettime(clock), time.monotonic()
    while time.monotonic() - began < 1.5 or landings.count < landed + 4:
        ledger.commit()
        replicator.wake()
        time.sleep(0.005)
    assert (time.clock_gettime(clock) - used) / (time.monotonic() - began) < 0.6
    ledger.close()


@needs_thread_clocks
def test_an_idle_replicator_costs_little(replicate: Replicate) -> None:
    replicate()
    thread = next(t for t in threading.enumerate() if t.name.startswith("replicator of"))
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    used = time.clock_gettime(clock)
    time.sleep(0.5)
    assert time.clock_gettime(clock) - used < 0.05


def test_the_wal_is_emptied_before_it_grows_long(
    tmp_path: Path, replica: Path, replicate: Replicate
) -> None:
    ledger = Ledger(tmp_path / "large.db", rows=2000)
    replicator, landings = replicate(ledger.file, poll=0.001)
    wal = Path(f"{replica.resolve()}-wal")
    sizes = []
    for number in range(1, 61):
        ledger.commit()
        replicator.wake()
        landings.until(lambda number=number: look(replica) == number)
        sizes.append(wal.stat().st_size)
        if number >= 15 and sizes[-1] <= 32 << 20:  # it shrinks when it is begun anew
            break
    assert max(sizes) < 40 << 20
    assert sizes[-1] <= 32 << 20
    ledger.close()


def test_an_idle_replica_s_pages_go_to_the_database_file(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    _, landings = replicate()
    before = replica.stat().st_mtime_ns
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    eventually(lambda: replica.stat().st_mtime_ns != before)


def test_a_reader_s_open_transaction_does_not_let_the_wal_grow_without_bound(
    tmp_path: Path, replica: Path, replicate: Replicate
) -> None:
    ledger = Ledger(tmp_path / "large.db", rows=2000)
    replicator, landings = replicate(ledger.file, poll=0.001)
    wal = Path(f"{replica.resolve()}-wal")
    with closing(connect(replica, "ro")) as reader:
        reader.execute("BEGIN")
        assert balance(reader) == 0
        while replicator.error is None:
            ledger.commit()
            replicator.wake()
            time.sleep(0.001)
        assert "end that reader's transaction" in str(replicator.error)
        size = wal.stat().st_size
        assert 64 << 20 < size < 80 << 20
        last = ledger.commit()
        time.sleep(0.05)
        assert wal.stat().st_size == size
        assert balance(reader) == 0
        reader.execute("COMMIT")
        landings.until(lambda: look(replica) == last)
    eventually(lambda: replicator.error is None)
    assert wal.stat().st_size <= 32 << 20
    ledger.close()


def test_the_source_is_opened_to_change_nothing(ledger: Ledger) -> None:
    source = Source(ledger.file)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        source.connection.execute("DELETE FROM counter")
    source.close()


def test_nothing_holds_on_to_the_source_s_wal(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    _, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    eventually(lambda: ledger.run("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0)
