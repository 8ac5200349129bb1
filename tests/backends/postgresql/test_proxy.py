"""The network's troubles by what a client sees of them."""

import asyncio
import gc
import socket
import time

import psycopg
import pytest

from orm.testing.postgresql import Cluster, Proxy


async def connect(cluster: Cluster, proxy: Proxy, **options: int) -> psycopg.AsyncConnection:
    url = proxy.url(cluster.primary.url("psycopg")).replace("+psycopg", "")
    return await psycopg.AsyncConnection.connect(url, autocommit=True, **options)


async def one(connection: psycopg.AsyncConnection) -> float:
    """Seconds that a query takes."""
    begin = time.perf_counter()
    cursor = await connection.execute("SELECT repeat('x', 10000000)", prepare=False)
    [text] = await cursor.fetchone() or [""]
    assert len(text) == 10_000_000
    return time.perf_counter() - begin


async def test_latency_is_that_of_a_round_trip(shared_cluster: Cluster) -> None:
    async with Proxy(shared_cluster.primary.port) as proxy:
        async with await connect(shared_cluster, proxy) as connection:
            fast = min([await one(connection) for _ in range(5)])
            proxy.latency = 0.1
            # There and back once. If each 64 kB waited for the one before: 15 s.
            assert 0.2 <= min([await one(connection) for _ in range(3)]) < fast + 7


async def test_a_black_hole_answers_no_client_and_breaks_nothing(shared_cluster: Cluster) -> None:
    async with Proxy(shared_cluster.primary.port) as proxy:
        async with await connect(shared_cluster, proxy) as connection:
            proxy.black_hole()
            query = asyncio.create_task(one(connection))
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                await connect(shared_cluster, proxy, connect_timeout=2)
            assert not query.done()
            proxy.heal()
            await query


async def test_a_cut_is_seen_at_once(shared_cluster: Cluster) -> None:
    async with Proxy(shared_cluster.primary.port) as proxy:
        connection = await connect(shared_cluster, proxy)
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            await one(connection)
        await connection.close()
        async with await connect(shared_cluster, proxy) as connection:
            await one(connection)


@pytest.mark.parametrize("turns", range(6))
def test_nothing_is_left_of_a_client_that_has_just_come(
    shared_cluster: Cluster, turns: int
) -> None:
    async def come() -> None:
        async with Proxy(shared_cluster.primary.port) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port)):
                for _ in range(turns):  # of the loop, in which it is accepted, and then served
                    await asyncio.sleep(0)

    asyncio.run(come())
    gc.collect()  # ResourceWarning is an error


async def test_a_commit_that_is_cut_off_is_made_all_the_same(shared_cluster: Cluster) -> None:
    primary = shared_cluster.primary
    table = f"cut_off_{time.time_ns()}"
    async with Proxy(primary.port) as proxy:
        connection = await connect(shared_cluster, proxy)
        proxy.cut_at(b"COMMIT")
        await connection.execute("BEGIN")
        await connection.execute(f"CREATE TABLE {table} ()")
        assert not proxy.has_cut
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("COMMIT")
        assert proxy.has_cut
        await connection.close()
        assert primary.sql(f"SELECT count(*) FROM {table}") == ["0"]
        primary.sql(f"DROP TABLE {table}")
        async with await connect(shared_cluster, proxy) as connection:
            await connection.execute("BEGIN")
            await connection.execute("COMMIT")  # it was once
