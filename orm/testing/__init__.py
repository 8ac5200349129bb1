"""For tests of applications: replicas whose lag one can set, pause and resume."""

from orm.testing.replicas import Follower, ReplicaControl, caught_up, followers, paused, replicas

__all__ = ["Follower", "ReplicaControl", "caught_up", "followers", "paused", "replicas"]
