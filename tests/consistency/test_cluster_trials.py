"""A slice of the trials on a real cluster; ``python -m orm.testing.consistency --postgresql``."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orm.testing.consistency.cluster_faults import FAULTS
from orm.testing.consistency.cluster_trial import plan, run
from orm.testing.consistency.timeline import text
from orm.testing.postgresql import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


_FAULTS = [name for name in FAULTS if name != "promote"]


async def test_sessions_keep_their_promises_under_every_fault(
    cluster: Cluster, tmp_path: Path
) -> None:
    trial = replace(plan(1, 600), faults=tuple(_FAULTS))
    result = await run(trial, cluster, tmp_path)
    assert not result.violations, text(result.violations[0])
    assert set(_FAULTS) <= set(result.faults)
    assert sum(o.outcome == "ok" for o in result.history) > 200
    assert any(o.server.startswith("replica") for o in result.history)
