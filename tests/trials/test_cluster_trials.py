"""A slice of the trials on a real cluster; ``python -m tests.harness.trials --postgresql``."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orm.routing import Reason
from orm.testing.consistency.timeline import text
from orm.testing.postgresql import Cluster
from tests.harness.trials.cluster_faults import FAULTS
from tests.harness.trials.cluster_trial import plan, run


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


async def test_sessions_keep_their_promises_under_every_fault(
    cluster: Cluster, tmp_path: Path
) -> None:
    trial = replace(plan(1, 600), faults=tuple(FAULTS))
    result = await run(trial, cluster, tmp_path)
    assert not result.violations, text(result.violations[0])
    assert set(FAULTS) <= set(result.faults)
    assert sum(o.outcome == "ok" for o in result.history) > 200
    assert any(o.why == Reason.CAUGHT_UP.value for o in result.history)  # on a replica


async def test_a_fault_is_counted_when_it_struck(cluster: Cluster, tmp_path: Path) -> None:
    drawn = plan(1, 200)
    trial = replace(drawn, faults=("cut in COMMIT",), habits=replace(drawn.habits, cancels=0.0))
    result = await run(trial, cluster, tmp_path)
    errors = [o.error for o in result.history if o.error]
    assert 0 < result.faults["cut in COMMIT"] <= len(errors)
