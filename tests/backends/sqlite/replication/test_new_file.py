"""When a replica cannot go on in the file it has, and how the next one takes its place."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orm.backends.sqlite.replication import incarnation
from tests.backends.sqlite.replication.support import (
    Ledger,
    Replicate,
    balance,
    connect,
    eventually,
    holds_a_snapshot,
    look,
)


def names(replica: Path) -> set[str]:
    return {name for name in os.listdir(replica.parent) if name.startswith(replica.name)}


def leave_something(replica: Path) -> Path:
    """What a replicator leaves that is killed before it has made a file."""
    left = replica.with_name(f"{replica.name}.0123456789abcdef")
    left.write_bytes(b"half a database")
    return left


def truncate(replica: Path) -> None:
    os.truncate(replica, 0)


def cut(replica: Path) -> None:
    os.truncate(replica, replica.stat().st_size // 2)


def fill_with_garbage(replica: Path) -> None:
    os.truncate(replica, 0)
    os.truncate(replica, 1 << 16)


def replace_by_another(replica: Path) -> None:
    other = replica.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE counter (n)")
        connection.commit()
    os.replace(other, replica)


def replace_its_file(replica: Path) -> None:
    file = replica.resolve()
    shutil.copy(file.with_name("source.db"), file.with_name("copy.db"))
    os.replace(file.with_name("copy.db"), file)


def remove_its_file(replica: Path) -> None:
    replica.resolve().unlink()


def remove_everything(replica: Path) -> None:
    for name in names(replica):
        replica.with_name(name).unlink()


def remove_the_wal(replica: Path) -> None:
    Path(f"{replica.resolve()}-wal").unlink()


def fill_the_wal_with_garbage(replica: Path) -> None:
    Path(f"{replica.resolve()}-wal").write_bytes(os.urandom(100_000))


def remove_the_shm(replica: Path) -> None:
    Path(f"{replica.resolve()}-shm").unlink()


DAMAGE = [
    Path.unlink,
    truncate,
    cut,
    fill_with_garbage,
    replace_by_another,
    replace_its_file,
    remove_its_file,
    remove_everything,
]
DAMAGE_AT_WORK = [remove_the_wal, fill_the_wal_with_garbage, remove_the_shm]


@pytest.mark.parametrize("damage", DAMAGE + DAMAGE_AT_WORK)
def test_damage_is_noticed_and_repaired(
    ledger: Ledger, replica: Path, replicate: Replicate, damage: Callable[[Path], None]
) -> None:
    replicator, landings = replicate()
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    before, landed = incarnation(replica), landings.count
    damage(replica)
    landings.until(lambda: landings.count > landed)
    assert incarnation(replica) not in (None, before)
    assert look(replica) == 1
    ledger.commit()
    landings.until(lambda: look(replica) == 2)
    assert replicator.error is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_done_meanwhile_is_repaired_by_start(
    ledger: Ledger, replica: Path, replicate: Replicate, damage: Callable[[Path], None]
) -> None:
    replicator, landings = replicate()
    replicator.stop()
    damage(replica)
    replicator.start()
    assert look(replica) == 0
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    assert replicator.error is None


def test_damage_is_noticed_during_a_lag(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    replicator.lag = 3600
    ledger.commit()
    eventually(lambda: holds_a_snapshot(ledger))
    landed = landings.count
    replica.unlink()
    landings.until(lambda: landings.count > landed)
    assert look(replica) == 1


def test_a_reader_can_ask_for_a_new_file_but_only_for_the_one_it_saw(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    first = incarnation(replica)
    replicator.rebuild()
    landings.until(lambda: incarnation(replica) != first)
    second = incarnation(replica)
    replicator.rebuild(first)
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    assert incarnation(replica) == second
    replicator.rebuild(second)
    landings.until(lambda: incarnation(replica) != second)


def test_a_connection_tells_which_incarnation_it_reads(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    first = incarnation(replica)
    with closing(connect(replica, "ro")) as reader:
        replicator.rebuild()
        landings.until(lambda: incarnation(replica) != first)
        [(_, _, file)] = reader.execute("PRAGMA database_list").fetchall()
    assert Path(file).name == first


def test_a_former_file_stays_for_its_readers_and_not_longer(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    first = incarnation(replica)
    assert first is not None
    ledger.commit()
    landings.until(lambda: look(replica) == 1)
    left = leave_something(replica)
    with closing(connect(replica, "ro")) as reader:
        assert balance(reader) == 1
        replicator.rebuild()
        landings.until(lambda: incarnation(replica) != first)
        ledger.commit()
        landings.until(lambda: look(replica) == 2)
        eventually(lambda: not left.exists())  # so a sweep was here
        assert first in names(replica)
        assert balance(reader) == 1
    eventually(lambda: not any(name.startswith(first) for name in names(replica)))


def test_a_reader_caught_between_opening_and_reading_sees_a_whole_state(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    replicator, landings = replicate()
    first = incarnation(replica)
    assert first is not None
    with closing(connect(replica, "ro")) as late:
        with closing(connect(replica, "ro")) as pins:
            pins.execute("BEGIN")
            assert balance(pins) == 0  # so that the next pass stays in the WAL
            ledger.commit()
            landings.until(lambda: look(replica) == 1)
            replicator.rebuild()
            landings.until(lambda: incarnation(replica) != first)
            pins.execute("COMMIT")
        eventually(lambda: first not in names(replica))
        assert balance(late) == 1


def test_a_strange_database_at_the_replica_s_path_makes_way_with_its_wal(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    with closing(connect(replica)) as strange:
        strange.execute("PRAGMA journal_mode = WAL")
        strange.execute("CREATE TABLE strange (n)")
        for suffix in ("", "-wal", "-shm"):  # as a crash leaves them
            shutil.copy(f"{replica}{suffix}", f"{replica}{suffix}.copy")
    for suffix in ("", "-wal", "-shm"):
        os.replace(f"{replica}{suffix}.copy", f"{replica}{suffix}")
    ledger.commit()
    replicate()
    assert look(replica) == 1
    assert not {f"{replica.name}-wal", f"{replica.name}-shm"} & names(replica)


def test_what_an_interrupted_start_left_is_removed(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    left = leave_something(replica).name
    for suffix in ("-journal", "-wal", "-shm"):
        replica.with_name(left + suffix).write_bytes(b"half a file")
    replica.with_name(f"{left}-link").symlink_to(left)
    mine = replica.with_name(f"{replica.name}.backup")
    mine.write_bytes(b"not to be touched")
    replicate()
    eventually(lambda: not any(name.startswith(left) for name in names(replica)))
    assert mine.exists()


def test_a_new_file_is_as_private_as_the_source(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    ledger.file.chmod(0o600)
    replicate()
    for name in names(replica):
        assert os.stat(replica.with_name(name)).st_mode & 0o777 == 0o600, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_new_file_belongs_to_the_source_s_owner(
    ledger: Ledger, replica: Path, replicate: Replicate
) -> None:
    os.chown(ledger.file, 12345, 12345)
    replicate()
    for name in names(replica):
        assert os.stat(replica.with_name(name)).st_uid == 12345, name
