"""Sessions on simulated servers, in virtual time: every run is its seed's.

The library runs unchanged, on a backend of its own: `tests.harness.simulation.backend`. Longer
runs than the test suite's, and the reproduction of a seed, have a command::

    python -m tests.harness.simulation --seed 1 --operations 1000000
    python -m tests.harness.simulation --seed 25 --operations 1 --shrink

A replica may be promoted while the old primary goes on; what only that one had is lost, and is to
be reported as `WriteLost`. And a replica may show a commit that waits for a synchronous standby
before the primary does.
"""

from orm.backends import register
from orm.servers import timing
from tests.harness.simulation.backend import SimulatedBackend
from tests.harness.simulation.nemesis import FAULTS, Strike
from tests.harness.simulation.trial import Plan, Result, plan, run, smallest

__all__ = ["FAULTS", "Plan", "Result", "Strike", "plan", "run", "smallest"]

register("simulated", SimulatedBackend)
timing.jitter = 0.0  # all chance is the seed's
