"""What start needs and says, and what stop leaves."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import ReplicationError, Replicator, incarnation, target
from orm.exceptions import OrmError
from tests.backends.sqlite.replication.support import (
    Ledger,
    Replicate,
    balance,
    connect,
    eventually,
    holds_a_snapshot,
    look,
)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("replicator of")]


def open_files(directory: Path) -> list[str]:
    links = []
    for number in os.listdir("/proc/self/fd"):
        with_target = Path("/proc/self/fd", number)
        if with_target.is_symlink() and os.readlink(with_target).startswith(str(directory)):
            links.append(os.readlink(with_target))
    return links


def test_stop_leaves_no_thread_no_lock_and_no_open_file(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    ledger.close()
    replicator.stop()
    replicator.stop()
    assert not replicator.leading
    assert threads() == []
    if sys.platform == "linux":
        assert open_files(replica.parent) == []
    with closing(connect(replica.with_name(f"{replica.name}-lock"))) as lock:
        lock.execute("PRAGMA busy_timeout = 0")
        lock.execute("BEGIN IMMEDIATE")


def test_start_goes_on_in_the_file_that_is_there(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    before = incarnation(replica)
    replicator.start()
    replicator.stop()
    ledger.commit()
    replicator.start()
    assert look(replica) == 1
    ledger.commit()
    landings.until(lambda: look(replica) == 2)
    assert incarnation(replica) == before


@pytest.mark.parametrize("paused", [False, True])
def test_stop_is_prompt(ledger: Ledger, replicate: Replicate, paused: bool) -> None:
    replicator, _ = replicate(poll=0.001)
    replicator.lag = 3600
    ledger.commit()
    eventually(lambda: holds_a_snapshot(ledger))
    if paused:
        replicator.pause()
    replicator.stop()  # and not in an hour
    assert threads() == []


def test_the_callback_may_stop_and_pause(ledger: Ledger, replica: Path) -> None:
    done = threading.Event()

    def landed() -> None:
        replicator.pause()
        replicator.stop()
        done.set()

    replicator = Replicator(ledger.file, replica, landed=landed)
    replicator.start()
    assert done.wait(10)
    replicator.resume()
    done.clear()
    ledger.commit()
    replicator.start()
    assert done.wait(10)
    replicator.stop()
    assert threads() == []


def test_a_paused_start_wants_something_to_read(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, _ = replicate(start=False)
    replicator.pause()
    with pytest.raises(ReplicationError, match=r"call resume\(\) first"):
        replicator.start()
    replicator.resume()
    replicator.start()
    replicator.stop()
    replicator.pause()
    ledger.commit()
    replicator.start()
    assert look(replica) == 0


def test_a_replica_that_waits_for_a_reader_can_be_read_meanwhile(
    ledger: Ledger, replica: Path, replicate: Replicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_MOST_WAL", 0)
    replicator, _ = replicate(poll=0.001)
    with closing(connect(replica, "ro")) as reader:
        reader.execute("BEGIN")
        assert balance(reader) == 0
        while replicator.error is None:
            ledger.commit()
            replicator.wake()
            time.sleep(0.001)
        replicator.stop()
        replicator.start()
        assert look(replica) > 0


# Start fails -------------------------------------------------------------------------------


def test_a_source_is_never_created(tmp_path: Path, replica: Path) -> None:
    replicator = Replicator(tmp_path / "none.db", replica)
    with pytest.raises(ReplicationError, match="missing") as raised:
        replicator.start()
    assert isinstance(raised.value, OrmError)
    assert os.listdir(tmp_path) == []
    assert threads() == []


def test_a_source_outside_wal_mode_is_refused(tmp_path: Path, replica: Path) -> None:
    source = tmp_path / "source.db"
    with closing(connect(source)) as connection:
        connection.execute("CREATE TABLE t (n)")
    with pytest.raises(ReplicationError, match="PRAGMA journal_mode = WAL"):
        Replicator(source, replica).start()


def test_a_source_that_is_no_database_is_refused(tmp_path: Path, replica: Path) -> None:
    source = tmp_path / "source.db"
    source.write_bytes(b"not a database" * 1000)
    with pytest.raises(ReplicationError, match="not a database") as raised:
        Replicator(source, replica).start()
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("where", ["missing", "file"])
def test_a_replica_needs_a_directory(ledger: Ledger, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ReplicationError, match="directory") as raised:
        Replicator(ledger.file, tmp_path / where / "replica.db").start()
    assert isinstance(raised.value.__cause__, OSError)


def test_a_replica_is_not_its_source(ledger: Ledger, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(ledger.file)
    for replica in (ledger.file, link):
        with pytest.raises(ValueError, match="a path of its own"):
            Replicator(ledger.file, replica)
    with pytest.raises(ValueError, match="poll"):
        Replicator(ledger.file, tmp_path / "replica.db", poll=0)


FULL_DISK = """
import resource, sys
from pathlib import Path
from orm.backends.sqlite.replication import ReplicationError, Replicator
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    Replicator(Path(sys.argv[1]), Path(sys.argv[2])).start()
except ReplicationError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(ledger: Ledger, replica: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FULL_DISK, ledger.file, replica],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert "cannot be made" in told.stdout
    assert "disk is not full" in told.stdout
    assert [n for n in os.listdir(replica.parent) if n.startswith(replica.name)] == [
        f"{replica.name}-lock"
    ]
