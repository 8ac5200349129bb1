"""Which of several replicas that will do is chosen: by what reads take there, zone and weight."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks.choice import NOTHING, Seen, chosen, ideal, in_zones, simulate, turns
from benchmarks.choice import Replica as Machine
from orm import Database, Replica
from orm.exceptions import ConfigurationError
from orm.routing.decision import choose
from orm.servers.speed import Speed
from orm.testing import caught_up
from tests.conftest import PATIENT, PostgreSQL

READS = 600
ONE = select(1)


def shares(*servers: Seen, now: float = 0.0, zones: tuple[str, ...] = ()) -> Counter[str]:
    them: Any = servers
    found: Counter[str] = Counter()
    for turn in range(READS):
        server: Any = choose(
            NOTHING, them, last=None, turn=turn, now=now, zones=zones, may_wait=False
        )
        found[server.replica.name] += 1
    return found


def server(name: str, seconds: float = 0.001, zone: str = "", in_use: int = 0) -> Seen:
    seen = Seen(Machine(name, zone), 0.0, in_use=in_use)
    for _ in range(2):
        seen.speed.took(seconds, 0.0)
    return seen


def test_servers_that_are_alike_take_turns() -> None:
    alike = [server("a", 0.001), server("b", 0.002), server("c", 0.003)]
    assert shares(*alike) == {"a": READS / 3, "b": READS / 3, "c": READS / 3}


def test_a_slow_server_gets_no_reads_and_a_recovered_one_its_share_again() -> None:
    slow = server("slow", 0.5)
    others = [server("a"), server("b")]
    assert shares(slow, *others)["slow"] == 0
    assert shares(slow, *others, now=120.0)["slow"] == READS / 3
    for _ in range(3):
        slow.speed.probed(0.4)  # it is as slow as that, as its probes say
    assert shares(slow, *others, now=120.0)["slow"] == 0


def test_the_fastest_of_all_does_not_get_all() -> None:
    """Each process would send all to it at once."""
    found = shares(server("fast", 0.001), *(server(name, 0.1) for name in "abcde"))
    assert found["fast"] < READS / 2
    assert min(found.values()) > READS / 12


def test_connections_in_use_count() -> None:
    assert shares(server("busy", 0.01, in_use=9), server("idle", 0.01)) == {"idle": READS}


def test_the_first_zone_that_has_one_serves() -> None:
    here, there, nowhere = server("e", 0.5, "eu"), server("u", 0.1, "us"), server("n")
    assert shares(here, there, nowhere, zones=("eu", "us")) == {"e": READS}
    assert shares(there, nowhere, zones=("eu", "us")) == {"u": READS}
    assert set(shares(there, nowhere, zones=("eu",))) == {"n"}


def test_slow_answers_are_noticed_at_once_and_forgotten_by_and_by() -> None:
    speed = Speed()
    for seconds in (0.001, 1.0, 0.001, 0.001):
        speed.took(seconds, 0.0)
    assert speed.seconds(0.0) == 0.001  # one alone says nothing of the server
    for _ in range(2):
        speed.took(1.0, 1.0)
    assert speed.seconds(1.0) == 1.0
    speed.took(0.001, 2.0)
    assert 0.8 < speed.seconds(2.0) < 1.0
    for second in range(3, 100):
        speed.took(0.001, float(second))
    assert speed.seconds(100.0) < 0.002


def test_reads_take_less_than_by_turns_and_hardly_longer_than_ideally() -> None:
    found = {way: simulate(way, 60, 20.0) for way in (turns, chosen, in_zones, ideal)}
    assert found[in_zones].quantile(0.99) < 1.5 * found[ideal].quantile(0.99)
    assert found[in_zones].quantile(0.99) < found[turns].quantile(0.99) / 4
    assert found[chosen].quantile(0.5) < found[turns].quantile(0.5)
    assert found[in_zones].slow < found[turns].slow / 3
    assert found[in_zones].far == 0


def test_a_weight_is_over_0() -> None:
    with pytest.raises(ConfigurationError, match="weight"):
        Replica("sqlite+aiosqlite:///a.db", weight=0)


@pytest.mark.parametrize("servers", ["psycopg"], indirect=True)
async def test_replicas_have_names_zones_and_weights(servers: PostgreSQL) -> None:
    async with servers.migrated() as db:
        urls = [replica.url for replica in db.cluster.replicas]
        primary = db.cluster.primary.url
    replicas = [
        Replica(urls[0], name="far", zone="us"),
        Replica(urls[1], name="near", zone="eu", weight=2),
    ]
    async with Database(primary, replicas=replicas, zones=["eu"], **PATIENT) as db:
        await caught_up(db)
        assert [server.name for server in await db.status()] == ["primary", "far", "near"]
        assert db.cluster.replicas[1].weight == 2
        for _ in range(4):
            async with db.connect() as connection:
                await connection.scalar(ONE)
                assert connection.last_route and connection.last_route.server == "near"
        await db.remove_replica("near")
        async with db.connect() as connection:
            await connection.scalar(ONE)
            assert connection.last_route and connection.last_route.server == "far"
