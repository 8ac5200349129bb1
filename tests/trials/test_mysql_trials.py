"""A slice of the trials on MariaDB and MySQL; ``python -m tests.harness.trials --mariadb``."""

from dataclasses import replace
from pathlib import Path

import pytest

from orm.routing import Reason
from orm.testing.consistency.timeline import text
from orm.testing.mysql import Flavour
from tests.conftest import started
from tests.harness.trials.cluster_trial import plan, run
from tests.harness.trials.mysql_faults import FAULTS


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_sessions_keep_their_promises_under_every_fault(
    flavour: Flavour, tmp_path: Path
) -> None:
    with started(flavour) as cluster:
        # A switch of roles waits for transactions, which the other faults hold up.
        faults = tuple(name for name in FAULTS if name != "switch")
        trial = replace(plan(1, 400), faults=faults)
        result = await run(trial, cluster, tmp_path)
        assert not result.violations, text(result.violations[0])
        assert set(faults) <= set(result.faults)
        assert sum(o.outcome == "ok" for o in result.history) > 100
        assert any(o.why == Reason.CAUGHT_UP.value for o in result.history)  # on a replica
