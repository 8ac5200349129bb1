"""Sessions on simulated servers, in virtual time: every run is its seed's."""

from orm.testing.simulation.trial import Plan, Result, plan, run, smallest

__all__ = ["Plan", "Result", "plan", "run", "smallest"]
