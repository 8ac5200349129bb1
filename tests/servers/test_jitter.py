"""Processes do not ask all at once."""

import asyncio

import pytest

from orm import Database
from orm.servers import timing
from orm.testing.postgresql import Cluster


def test_pauses_are_shorter_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "jitter", 0.25)  # the simulation has none
    pauses = {timing.jittered(8.0) for _ in range(100)}
    assert len(pauses) > 50
    assert all(6.0 <= pause <= 8.0 for pause in pauses)


async def test_servers_are_probed_at_times_of_their_own(
    postgresql_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "jitter", 0.25)
    asked: list[float] = []
    given = timing.jittered

    def pause(seconds: float) -> float:
        asked.append(given(seconds))
        return asked[-1] / 100

    monkeypatch.setattr("orm.servers.watcher.jittered", pause)
    primary, one, _ = postgresql_cluster.servers
    async with Database(primary.url(), replicas=[one.url()]):
        while len(asked) < 10:
            await asyncio.sleep(0.01)
    assert len(set(asked)) == len(asked)
