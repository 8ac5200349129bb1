"""Sessions on simulated servers, in virtual time: every run is its seed's.

The library runs unchanged, on a backend of its own: `orm.testing.simulation.backend`. Longer runs
than the test suite's, and the reproduction of a seed, have a command::

    python -m orm.testing.simulation --seed 1 --operations 1000000
    python -m orm.testing.simulation --seed 25 --operations 1 --shrink

A replica may be promoted while the old primary goes on; what only that one had is lost, and is to
be reported as `WriteLost`. And a replica may show a commit that waits for a synchronous standby
before the primary does.
"""

from orm.testing.simulation.nemesis import FAULTS, Strike
from orm.testing.simulation.trial import Plan, Result, plan, run, smallest

__all__ = ["FAULTS", "Plan", "Result", "Strike", "plan", "run", "smallest"]
