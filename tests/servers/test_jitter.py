"""Processes do not ask all at once."""

import pytest

from orm.servers import timing


def test_pauses_are_shorter_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "jitter", 0.25)  # the simulation has none
    pauses = {timing.jittered(8.0) for _ in range(100)}
    assert len(pauses) > 50
    assert all(6.0 <= pause <= 8.0 for pause in pauses)
