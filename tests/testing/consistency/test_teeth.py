"""`orm verify` has teeth: what is unsafe is caught by it, in far less than its default duration.

Each variant is wrong only for moments, at times for microseconds. Real means make these moments
long, so that one run or two find it: replicas that lag, commits that wait for a replica behind a
slow network, a replica with a slow disk, and replicas without a log of their own. The library
passes on the same servers.

What shows only after a failover is beyond `verify`, which disturbs nothing: those variants are in
`tests/trials/test_unsafe_mysql.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import pytest
from sqlalchemy import Connection

from orm import Database
from orm.backends.mysql import MySQLBackend, fences, position, state
from orm.backends.mysql.gtid import GtidSet
from orm.backends.sqlite.replication.replicator import Replicator
from orm.testing import mysql, postgresql
from orm.testing.consistency.timeline import text
from orm.testing.consistency.verify import Report, verify
from orm.testing.postgresql import Proxy
from tests.conftest import started
from tests.harness.attempts import attempts
from tests.harness.slow_flush import flushes_slowly
from tests.trials import test_unsafe as embedded
from tests.trials import test_unsafe_cluster as standbys

pytestmark = pytest.mark.slow  # clients work for a while

Patch: TypeAlias = Callable[[pytest.MonkeyPatch], Any]
EACH: Final = 2.0
"""Seconds of the first run; the next ones take two and three times as long."""
LATENCY: Final = 0.1  # seconds in either direction


# Servers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Servers:
    """What `verify` is run on, by how many other writers, and what is done before each run."""

    primary: str
    replicas: int | list[str]
    before: Callable[[], None] = lambda: None
    writers: int = 2


SetUp: TypeAlias = Callable[[], AbstractAsyncContextManager[Servers]]


@asynccontextmanager
async def embedded_replicas_lag() -> AsyncIterator[Servers]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        start = Replicator.start

        def lagging(self: Replicator) -> None:
            self.lag = LATENCY
            start(self)

        patch.setattr(Replicator, "start", lagging)
        url = f"sqlite+aiosqlite:///{folder}/app.db"
        async with Database(url):
            yield Servers(url, 2)


@asynccontextmanager
async def standbys_that(prepare: Callable[[postgresql.Cluster], None]) -> AsyncIterator[Servers]:
    with postgresql.Cluster() as cluster:
        prepare(cluster)
        yield Servers(cluster.primary.url(), [standby.url() for standby in cluster.standbys])


@contextmanager
def replicas(flavour: mysql.Flavour) -> Iterator[tuple[mysql.Cluster, Servers]]:
    with started(flavour) as cluster, cluster.database() as name:
        for server in cluster.servers:
            server.database = name
        urls = [server.url() for server in (cluster.primary, *cluster.standbys)]
        yield cluster, Servers(urls[0], urls[1:])


@asynccontextmanager
async def commits_wait_for_a_slow_replica(flavour: mysql.Flavour) -> AsyncIterator[Servers]:
    """The other one shows them meanwhile, and the primary does not."""
    with replicas(flavour) as (cluster, servers):
        async with Proxy(cluster.primary.port, latency=LATENCY) as network:
            slow = cluster.standbys[0]
            await asyncio.to_thread(slow.follow, cluster.primary, port=network.port)
            await asyncio.to_thread(slow.acknowledge)
            await asyncio.to_thread(cluster.primary.await_replicas, seconds=10)
            yield servers
            await asyncio.to_thread(cluster.primary.await_replicas, seconds=0)


@asynccontextmanager
async def a_replica_waits_for_its_own(
    flavour: mysql.Flavour, *, shown: bool
) -> AsyncIterator[Servers]:
    """It has a commit in its log, and shows it or does not, long before it has done it."""
    with replicas(flavour) as (cluster, servers):
        first, second = cluster.standbys
        async with Proxy(first.port, latency=LATENCY) as network:
            await asyncio.to_thread(second.follow, first, port=network.port)
            await asyncio.to_thread(second.acknowledge)

            def wait() -> None:  # what the clients before have left behind is applied at once
                first.await_replicas(seconds=0)
                cluster.caught_up()
                first.await_replicas(seconds=10, shown=shown)

            # Others would write more than it can wait for: it would be too late for all clients.
            yield replace(servers, before=wait, writers=0)
            await asyncio.to_thread(first.await_replicas, seconds=0)


@asynccontextmanager
async def a_replica_flushes_slowly() -> AsyncIterator[Servers]:
    """It has no log of its own, and shows a commit for as long as the disk is at it."""
    with replicas("mysql") as (cluster, servers):
        first, second = cluster.standbys
        first.settings = (
            *("--skip-log-bin", "--log-replica-updates=OFF"),
            *("--innodb-flush-log-at-trx-commit=1", "--innodb-log-writer-threads=ON"),
        )
        await asyncio.to_thread(first.restart)
        async with Proxy(cluster.primary.port, latency=LATENCY) as network:
            await asyncio.to_thread(second.follow, cluster.primary, port=network.port)
            process = int((first.folder / "pid").read_text())
            with ExitStack() as stack:
                try:
                    slowly = flushes_slowly(process, stands=LATENCY, runs=LATENCY / 20)
                    stack.enter_context(slowly)
                except PermissionError as error:
                    pytest.skip(f"a thread of the server cannot be stopped here ({error})")
                yield replace(servers, writers=0)  # others would write more than it can apply


# Variants ------------------------------------------------------------------------------------


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MySQLBackend, "fences", None)


def fence_by_the_log(patch: pytest.MonkeyPatch) -> None:
    """What is in the primary's log is taken for shown."""
    patch.setattr(position, "VISIBLE", "SELECT @@gtid_binlog_pos")
    patch.setattr(fences, "VISIBLE", "SELECT @@gtid_binlog_pos")


def high_lower_bound(patch: pytest.MonkeyPatch) -> None:
    def applied(self: state.State) -> GtidSet:
        """What is in the log, or owned."""
        return GtidSet.parse(self.row["logged"]) if self.mariadb else self.everything

    patch.setattr(state.State, "applied", property(applied))


def low_upper_bound(patch: pytest.MonkeyPatch) -> None:
    """`gtid_slave_pos`, or MySQL's `gtid_executed`, is taken for all that was seen."""
    right = position.shown_by

    def shown_by(connection: Connection, state: state.State) -> GtidSet | None:
        return state.applied if state.is_standby else right(connection, state)

    patch.setattr(position, "shown_by", shown_by)


SET_UPS: dict[str, tuple[SetUp, Sequence[Patch]]] = {
    "sqlite": (
        embedded_replicas_lag,
        (
            embedded.no_check,
            embedded.position_before_commit,
            embedded.bookmark_without_reads,
        ),
    ),
    "postgresql: standbys lag": (
        partial(standbys_that, partial(standbys.standbys_lag, seconds=1.0)),
        (standbys.check_inside_the_snapshot,),
    ),
    "postgresql: commits are asynchronous": (
        partial(standbys_that, standbys.commits_are_asynchronous),
        (standbys.flushed_for_seen,),
    ),
    "postgresql: commits wait for a standby": (
        partial(standbys_that, standbys.commits_wait_for_a_standby),
        (standbys.no_fence,),
    ),
    "mariadb: commits wait for a replica": (
        partial(commits_wait_for_a_slow_replica, "mariadb"),
        (no_fence, fence_by_the_log),
    ),
    "mariadb: what is in the log is not shown yet": (
        partial(a_replica_waits_for_its_own, "mariadb", shown=False),
        (high_lower_bound,),
    ),
    "mariadb: what is shown is not counted yet": (
        partial(a_replica_waits_for_its_own, "mariadb", shown=True),
        (low_upper_bound,),
    ),
    "mysql: what is shown is not counted yet": (a_replica_flushes_slowly, (low_upper_bound,)),
    "mysql: commits wait for a replica": (
        partial(commits_wait_for_a_slow_replica, "mysql"),
        (no_fence,),
    ),
    "mysql: what is in the log is not shown yet": (
        partial(a_replica_waits_for_its_own, "mysql", shown=False),
        (high_lower_bound,),
    ),
}


async def report_of(servers: Servers, seed: int, seconds: float = EACH) -> Report:
    await asyncio.to_thread(servers.before)
    return await verify(
        servers.primary,
        servers.replicas,
        seconds=seconds,
        seed=seed,
        processes=servers.writers,
    )


@pytest.mark.parametrize("set_up", SET_UPS)
async def test_what_is_unsafe_is_caught(set_up: str) -> None:
    prepare, variants = SET_UPS[set_up]
    async with prepare() as servers:
        report = await report_of(servers, 1)
        assert not report.violations, text(report.violations[0])
        cluster = Database(servers.primary, replicas=servers.replicas).cluster
        names = {server.name for server in (cluster.primary, *cluster.replicas)}
        assert set(report.served) <= names, "clients and processes call a server by one name"
        for variant in variants:
            with pytest.MonkeyPatch.context() as patch:
                variant(patch)
                for attempt in attempts(f"a violation, by {variant.__name__}"):
                    seconds = EACH * min(attempt + 1, 3)
                    if (await report_of(servers, attempt, seconds)).violations:
                        break
