"""One replicator for one replica, whatever happens to the others."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import ReplicationError, Replicator, incarnation
from tests.backends.sqlite.replication.support import Child, Ledger, Replicate, eventually, look

pytestmark = pytest.mark.slow  # each runs a program

Spawn = Callable[..., Child]


def test_the_second_process_takes_over_when_the_first_is_killed(
    ledger: Ledger, replica: Path, replicate: Replicate, spawn: Spawn
) -> None:
    first = spawn("replicate", ledger.file, replica, "")
    first.expect("leading")
    before = incarnation(replica)
    second, landings = replicate()
    assert not second.leading
    ledger.commit()
    landings.until(lambda: look(replica) == 1)  # the first one's doing, passed on by the second
    assert not second.leading
    first.kill()
    eventually(lambda: second.leading)
    ledger.commit()
    landings.until(lambda: look(replica) == 2)
    assert incarnation(replica) == before


def test_another_process_takes_over_when_this_one_stops(
    ledger: Ledger, replica: Path, replicate: Replicate, spawn: Spawn
) -> None:
    first, _ = replicate()
    second = spawn("replicate", ledger.file, replica, "")
    second.expect("standing by")
    first.stop()
    assert not first.leading
    second.expect("leading")
    ledger.commit()
    eventually(lambda: look(replica) == 1)


def test_one_leads_within_a_process_too(ledger: Ledger, replicate: Replicate) -> None:
    first, _ = replicate()
    second, _ = replicate()
    assert (first.leading, second.leading) == (True, False)
    first.stop()
    eventually(lambda: second.leading)


def test_only_one_leads_after_the_lock_file_was_removed(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    first, _ = replicate()
    replica.with_name(f"{replica.name}-lock").unlink()
    second, _ = replicate()
    eventually(lambda: first.leading != second.leading)
    leader, other = (first, second) if first.leading else (second, first)
    leader.stop()
    eventually(lambda: other.leading)


def test_a_replicator_that_stands_by_does_not_wait_for_ever(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    first, _ = replicate()
    first.pause()  # it keeps the lock, and repairs nothing
    replica.unlink()
    second, _ = replicate(start=False)
    with pytest.raises(ReplicationError, match="another process holds"):
        second.start(timeout=0.3)
    assert not any(t.name.startswith("replicator of") for t in live_threads() - {thread_of(first)})


def thread_of(replicator: Replicator) -> threading.Thread | None:
    return replicator._thread


def live_threads() -> set[threading.Thread | None]:
    return set(threading.enumerate())


def test_a_reader_in_a_process_that_stands_by_can_ask_for_a_new_file(
    ledger: Ledger, replica: Path, replicate: Replicate, spawn: Spawn
) -> None:
    first = spawn("replicate", ledger.file, replica, "")
    first.expect("leading")
    second, _ = replicate()
    before = incarnation(replica)
    second.rebuild(before)
    eventually(lambda: incarnation(replica) != before)
    assert not second.leading
    assert look(replica) == 0
