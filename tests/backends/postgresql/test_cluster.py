"""Each trouble by what a client sees of it."""

import socket
import threading
import time

import psycopg
import pytest

from orm.testing.postgresql import Cluster, Server


def libpq(server: Server) -> str:
    return server.url("psycopg").replace("+psycopg", "")


@pytest.fixture
def cluster(postgresql_cluster: Cluster) -> Cluster:
    postgresql_cluster.primary.sql("CREATE TABLE notes (id serial)")
    postgresql_cluster.caught_up()
    return postgresql_cluster


@pytest.fixture
def standby(cluster: Cluster) -> Server:
    return cluster.standbys[0]


def write(server: Server) -> None:
    server.sql("INSERT INTO notes DEFAULT VALUES")


def notes(server: Server) -> int:
    [count] = server.sql("SELECT count(*) FROM notes")
    return int(count)


def others_have(cluster: Cluster, count: int) -> None:
    """The other standby goes on all the while."""
    other = cluster.standbys[1]
    other.caught_up(cluster.primary)
    assert notes(other) == count


def test_standbys_show_what_the_primary_commits(cluster: Cluster) -> None:
    assert len(cluster.standbys) == 2
    write(cluster.primary)
    cluster.caught_up()
    assert [notes(server) for server in cluster.servers] == [1, 1, 1]
    with pytest.raises(RuntimeError, match="read-only"):
        write(cluster.standbys[0])


def received(server: Server, lsn: str) -> bool:
    return server.sql(f"SELECT pg_last_wal_receive_lsn() >= '{lsn}'") == ["t"]


@pytest.mark.parametrize("verb", ["pause", "stall_replay"])
def test_received_and_not_replayed(cluster: Cluster, standby: Server, verb: str) -> None:
    getattr(standby, verb)()
    write(cluster.primary)
    [lsn] = cluster.primary.sql("SELECT pg_current_wal_flush_lsn()")
    standby.wait(lambda: received(standby, lsn), "does not receive")
    others_have(cluster, 1)
    assert notes(standby) == 0
    standby.resume() if verb == "pause" else standby.thaw()
    cluster.caught_up()
    assert notes(standby) == 1


@pytest.mark.parametrize(("verb", "end"), [("partition", "heal"), ("black_hole", "thaw")])
def test_not_even_received(cluster: Cluster, standby: Server, verb: str, end: str) -> None:
    getattr(standby, verb)()
    write(cluster.primary)
    [lsn] = cluster.primary.sql("SELECT pg_current_wal_flush_lsn()")
    others_have(cluster, 1)
    assert notes(standby) == 0
    assert not received(standby, lsn)
    getattr(standby, end)()
    cluster.caught_up()
    assert notes(standby) == 1


def test_a_delay_is_that_long(cluster: Cluster, standby: Server) -> None:
    standby.delay(0.5)
    begin = time.monotonic()
    write(cluster.primary)
    others_have(cluster, 1)
    cluster.caught_up()
    assert time.monotonic() - begin >= 0.5
    assert notes(standby) == 1
    standby.delay(3600)
    write(cluster.primary)
    others_have(cluster, 2)
    assert notes(standby) == 1
    standby.delay(0)
    assert standby.setting("recovery_min_apply_delay") == "0"


def test_a_frozen_server_keeps_connections_and_says_nothing(standby: Server) -> None:
    with psycopg.connect(libpq(standby), autocommit=True) as connection:
        standby.freeze()
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(libpq(standby), connect_timeout=2)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        standby.thaw()
        assert connection.pgconn.get_result() is not None
        assert connection.pgconn.get_result() is None
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_a_killed_server_drops_all_clients_and_forgets_nothing(cluster: Cluster) -> None:
    primary = cluster.primary
    write(primary)
    with psycopg.connect(libpq(primary), autocommit=True) as connection:
        primary.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(libpq(primary))
    assert not primary.is_running
    assert notes(cluster.standbys[0]) in (0, 1)  # which goes on answering
    primary.start()
    write(primary)
    cluster.caught_up()
    assert [notes(server) for server in cluster.servers] == [2, 2, 2]


def test_a_restart_is_a_new_incarnation(standby: Server) -> None:
    [before] = standby.sql("SELECT pg_postmaster_start_time()")
    standby.restart()
    assert standby.sql("SELECT pg_postmaster_start_time()") != [before]
    standby.stop("immediate")
    assert not standby.is_running


def test_a_server_that_is_down_keeps_its_port(cluster: Cluster, standby: Server) -> None:
    """Else another process could be given it meanwhile, and the server would not start again."""
    standby.stop()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", standby.port))
    standby.start()
    cluster.caught_up()


@pytest.mark.parametrize("idle", [False, True])
def test_a_conflict_ends_older_snapshots(cluster: Cluster, standby: Server, idle: bool) -> None:
    with (
        psycopg.connect(libpq(standby)) as old,
        psycopg.connect(libpq(standby)) as unconcerned,
    ):
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM notes")
        unconcerned.execute("SELECT 1")
        if not idle:
            old.pgconn.send_query(b"SELECT pg_sleep(60)")
            old.pgconn.flush()
            sleeps = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            standby.wait(lambda: standby.sql(sleeps) == ["1"], "does not sleep")
        standby.conflict()
        if idle:
            with pytest.raises(psycopg.OperationalError, match="conflict with recovery"):
                old.execute("SELECT count(*) FROM notes")
        else:
            result = old.pgconn.get_result()
            assert result is not None
            assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"40001"
            while old.pgconn.get_result() is not None:
                pass
            old.rollback()
        assert unconcerned.execute("SELECT 1").fetchone() == (1,)


def test_promotion_and_the_way_back(cluster: Cluster, standby: Server) -> None:
    old = cluster.primary
    other = cluster.standbys[1]
    standby.partition()
    write(old)  # is lost
    old.kill()
    cluster.promote(standby)
    assert cluster.primary is standby
    assert notes(standby) == 0
    write(standby)
    write(standby)
    cluster.rejoin(old)
    cluster.rejoin(other)
    assert [notes(server) for server in cluster.servers] == [2, 2, 2]
    assert cluster.standbys == [old, other]
    with pytest.raises(RuntimeError, match="read-only"):
        write(old)


def test_one_more_standby(cluster: Cluster) -> None:
    write(cluster.primary)
    third = cluster.add_standby()
    third.caught_up(cluster.primary)
    assert notes(third) == 1
    assert third in cluster.standbys


def test_troubles_are_undone(cluster: Cluster) -> None:
    first, second = cluster.standbys
    first.partition()
    first.pause()
    second.delay(3600)
    second.freeze()
    cluster.primary.kill()
    cluster.heal()
    write(cluster.primary)
    cluster.caught_up()
    assert notes(first) == notes(second) == 1


def test_a_server_outlives_the_thread_that_started_it(cluster: Cluster) -> None:
    """As with a restart in `asyncio.to_thread`, whose threads end with the loop."""
    standby = cluster.standbys[0]
    thread = threading.Thread(target=standby.restart)
    thread.start()
    thread.join()
    assert notes(standby) == 0
    assert standby.is_running


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_urls(cluster: Cluster, driver: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    write(cluster.primary)
    engine = create_async_engine(cluster.primary.url(driver))  # type: ignore[arg-type]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM notes")) == 1
    await engine.dispose()
    socket = f"host={cluster.primary.folder} port={cluster.primary.port} user=postgres"
    with psycopg.connect(f"{socket} dbname=postgres") as connection:
        assert connection.info.host == str(cluster.primary.folder)
