"""As `test_unsafe`, with what only a real PostgreSQL can show.

Each variant is caught by a trial on a cluster that is set up so that its defect shows all the time,
or by a scene; the library itself passes both.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from psycopg import AsyncConnection
from sqlalchemy import Connection, column, func, select, table, text
from sqlalchemy.exc import DBAPIError

from orm.backends.postgresql import PostgreSQLBackend, one_trip, position
from orm.bookmark import Bookmark
from orm.database import Database
from orm.exceptions import WriteLost
from orm.routing.placement import ReadPlacement
from orm.routing.transaction import Transaction
from orm.servers.server import Server
from orm.testing import caught_up, paused
from orm.testing.consistency.timeline import text as told
from orm.testing.postgresql import Cluster
from tests.harness.attempts import attempts
from tests.harness.client import TrialHabits
from tests.harness.trials.cluster_trial import run
from tests.harness.trials.life import Plan

Patch = Callable[[pytest.MonkeyPatch], Any]

# They fail in ways that the library does not.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def one_for_all() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(one_for_all: Cluster) -> Iterator[Cluster]:
    yield one_for_all
    for standby in one_for_all.standbys:
        standby.delay(0)
    one_for_all.primary.set("synchronous_standby_names", "")
    one_for_all.primary.set("synchronous_commit", "on")
    one_for_all.primary.set("wal_writer_delay", "200")


# Clusters ------------------------------------------------------------------------------------


def standbys_lag(cluster: Cluster, seconds: float = 0.1) -> None:
    for standby in cluster.standbys:
        standby.delay(seconds)


def commits_are_asynchronous(cluster: Cluster) -> None:
    cluster.primary.set("synchronous_commit", "off")
    cluster.primary.set("wal_writer_delay", "500")  # milliseconds after which they are flushed


def commits_wait_for_a_standby(cluster: Cluster) -> None:
    """It is slow, and the other one shows them meanwhile."""
    slow = cluster.standbys[0]
    slow.delay(0.4)
    cluster.primary.set("synchronous_standby_names", slow.name)
    cluster.primary.set("synchronous_commit", "remote_apply")


# Variants ------------------------------------------------------------------------------------


def believed(
    self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
) -> bool:
    """`ReadPlacement._may_read` without its questions."""
    try:
        connection.begin()
    except DBAPIError as error:
        server.fail(error)
        return False
    cluster = self._cluster
    self._memory.reads(server, cluster.backend.incarnation(connection), cluster.epoch.number)
    return True


def no_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Server, "covers", lambda *_: True)
    patch.setattr(ReadPlacement, "_may_read", believed)


def check_inside_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    """The transaction begins with asking whether the replica has caught up, until it has."""

    def may_read(
        self: ReadPlacement, transaction: Transaction, server: Server, connection: Connection
    ) -> bool:
        until = monotonic() + 2.0
        try:
            if not believed(self, transaction, server, connection):
                return False
            while monotonic() < until:
                at = server.ask(connection).at
                if at is not None and at.covers(self._memory.bookmark):
                    return True
        except DBAPIError as error:
            server.fail(error)
        return False

    patch.setattr(Server, "covers", lambda *_: True)
    patch.setattr(ReadPlacement, "_may_read", may_read)


def flushed_for_asynchronous(patch: pytest.MonkeyPatch) -> None:
    mode = "current_setting('synchronous_commit')"
    assert mode in position.COMMITTED
    patch.setattr(position, "COMMITTED", position.COMMITTED.replace(mode, "'on'"))
    sent = one_trip._FIRST.replace(mode.encode(), b"'on'")
    patch.setattr(one_trip, "_FIRST", sent)


def flushed_for_seen(patch: pytest.MonkeyPatch) -> None:
    seen_is(patch, "THEN pg_current_wal_insert_lsn()", "THEN pg_current_wal_flush_lsn()")


def replayed_for_seen(patch: pytest.MonkeyPatch) -> None:
    seen_is(patch, "WHEN log.received > log.replayed THEN log.replayed + 1", "ELSE log.replayed")


def seen_is(patch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    assert right in position._SEEN
    patch.setattr(position, "_SEEN", position._SEEN.replace(right, wrong))


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PostgreSQLBackend, "fences", None)


def blind_to_timelines(patch: pytest.MonkeyPatch) -> None:
    right = position._bookmark

    def blind(connection: Connection, at: dict[int, int], shown: int = 0) -> Bookmark:
        return right(connection, {0: max(at.values())}, shown)

    patch.setattr(position, "_bookmark", blind)


# Trials --------------------------------------------------------------------------------------

PATIENT = Plan(  # who must read from a replica waits for one, and few keys are read often
    seed="1",
    operations=300,
    habits=TrialHabits(keys=2, writes=0.25),
    options={"max_wait": 2.0},
)
HASTY = replace(  # whom no replica can serve at once reads from the primary
    PATIENT, habits=TrialHabits(keys=8, writes=0.25), options={"max_wait": 0.0}
)
BRISK = replace(  # who reads from the primary at times, and from a replica soon after
    PATIENT, operations=600, options={"max_wait": 0.05}
)


CLUSTERS = {
    "standbys lag": (standbys_lag, PATIENT),
    "commits are asynchronous": (commits_are_asynchronous, BRISK),
    "commits wait for a standby": (commits_wait_for_a_standby, HASTY),
}

VARIANTS = {
    "no check at all": (no_check, "standbys lag"),
    "the check inside the snapshot": (check_inside_the_snapshot, "standbys lag"),
    "what is flushed after an asynchronous commit": (
        flushed_for_asynchronous,
        "commits are asynchronous",
    ),
    "what is flushed for what was read": (flushed_for_seen, "commits are asynchronous"),
}
"""`no_fence` shows to clients that go from server to server: `orm verify` has them, and catches it
(`tests/testing/consistency/test_teeth.py`)."""


@pytest.mark.parametrize("set_up", CLUSTERS)
async def test_the_library_is_not_caught(set_up: str, cluster: Cluster, tmp_path: Path) -> None:
    prepare, trial = CLUSTERS[set_up]
    prepare(cluster)
    result = await run(trial, cluster, tmp_path)
    assert not result.violations, told(result.violations[0])


@pytest.mark.parametrize("variant", VARIANTS)
async def test_an_unsafe_variant_is_caught(
    variant: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch, set_up = VARIANTS[variant]
    prepare, trial = CLUSTERS[set_up]
    patch(monkeypatch)
    for attempt in attempts(f"a violation, by {variant}"):
        prepare(cluster)  # each trial heals it in the end
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if (await run(trial, cluster, folder)).violations:
            break


# Scenes --------------------------------------------------------------------------------------

ROWS = select(func.max(column("n"))).select_from(table("seen"))


@pytest.mark.parametrize("patched", [False, True], ids=["library", "variant"])
async def test_who_ignores_timelines_is_caught(
    patched: bool, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost write is taken to be there once the log is as long as it was."""
    if patched:
        blind_to_timelines(monkeypatch)
    old, (new, other) = cluster.primary, cluster.standbys
    old.sql("DROP TABLE IF EXISTS seen; CREATE TABLE seen AS SELECT 0 AS n")
    cluster.caught_up()
    new.partition()
    other.partition()
    async with Database(old.url()) as db, db.begin() as session:
        await session.execute(text("UPDATE seen SET n = 1"))
    token = await session.bookmark()
    cluster.promote(new)
    new.sql("CREATE TABLE longer AS SELECT generate_series(1, 1000); DROP TABLE longer")
    async with Database(new.url()) as db, db.session(token) as session:
        if patched:
            assert await session.scalar(ROWS) == 0
        else:
            with pytest.raises(WriteLost):
                await session.scalar(ROWS)
    for server in (other, old):
        cluster.rejoin(server)


def sample_that_is_kept(patch: pytest.MonkeyPatch) -> None:
    """What COMMIT brought along, until the next COMMIT."""
    connection = one_trip.SamplingConnection
    patch.setattr(connection, "wait", AsyncConnection.wait)
    patch.setattr(connection, "take_sample", lambda self: self._sampled)


@pytest.mark.parametrize("patched", [False, True], ids=["library", "variant"])
async def test_who_keeps_the_position_of_a_commit_is_caught(
    patched: bool, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT PREPARED brings none, and that of an earlier COMMIT is still there."""
    if patched:
        sample_that_is_kept(monkeypatch)
    primary = cluster.primary
    primary.sql("DROP TABLE IF EXISTS seen; CREATE TABLE seen AS SELECT 0 AS n")
    replicas = [standby.url("psycopg") for standby in cluster.standbys]
    async with Database(primary.url("psycopg"), replicas=replicas, dead_after=30.0) as db:
        async with db.begin() as session:
            await session.execute(text("UPDATE seen SET n = 1"))
        await caught_up(db)
        async with paused(db):
            async with db.session(twophase=True) as session:
                await session.execute(text("UPDATE seen SET n = 2"))
                await session.commit()
            async with db.session(await session.bookmark()) as later:
                assert await later.scalar(ROWS) == (1 if patched else 2)


_TABLES = 750  # have more files than the checkpointer can be told of at once
_EACH = """\
DO $$ BEGIN FOR n IN {} .. {} LOOP EXECUTE '{} TABLE dropped_' || n || '{}'; END LOOP; END $$"""


@pytest.mark.parametrize("patched", [False, True], ids=["library", "variant"])
@pytest.mark.parametrize("restarted", [False, True], ids=["streaming", "restarted"])
async def test_who_takes_what_is_replayed_for_all_that_was_seen_is_caught(
    patched: bool, restarted: bool, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit shows before it is replayed: its record takes long, as it drops many tables.

    It goes on until a server hears of the files that are to be removed.
    """
    if patched:
        replayed_for_seen(monkeypatch)
    primary, (quick, slow) = cluster.primary, cluster.standbys
    primary.sql("DROP TABLE IF EXISTS seen; CREATE TABLE seen AS SELECT 0 AS n")
    primary.sql(_EACH.format(1, _TABLES, "CREATE", " ()"))
    cluster.caught_up()
    for standby in (quick, slow):
        standby.delay(3600)  # it replays all but commits
    # The variant waits until the slow one has all but the commit; the library, which asks for more,
    # waits in vain.
    most = 30.0 if patched else 0.1
    async with (
        Database(primary.url(), replicas=[quick.url()], max_wait=30.0, dead_after=30.0) as db,
        Database(primary.url(), replicas=[slow.url()], max_wait=most, dead_after=30.0) as elsewhere,
    ):
        drop = _EACH.format(1, _TABLES, "DROP", "")
        primary.sql(f"BEGIN; UPDATE seen SET n = 1; {drop}; COMMIT")
        [end] = primary.sql("SELECT pg_current_wal_flush_lsn()")
        received = f"SELECT pg_last_wal_receive_lsn() >= '{end}'"
        quick.wait(lambda: quick.sql(received) == ["t"], "has not received it")
        if restarted:
            quick.restart()  # and does not say any more what it has received
            while (await db.status())[1].error:
                pass
        [pid] = quick.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        os.kill(int(pid), signal.SIGSTOP)
        try:
            await asyncio.to_thread(quick.delay, 0)
            async with db.session() as session:
                while await session.scalar(ROWS) == 0:
                    await session.commit()
                assert session.last_route and session.last_route.role == "replica"
                token = await session.bookmark()
            async with elsewhere.session(token) as session:
                assert await session.scalar(ROWS) == int(not patched)
        finally:
            quick.thaw()
