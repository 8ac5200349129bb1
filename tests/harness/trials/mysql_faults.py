"""The faults of a real cluster of MariaDB or MySQL, as data: how each is done, and undone."""

import time
from collections.abc import Mapping
from typing import Any, Final

from tests.harness.trials.cluster_faults import Fault, deliver_again, stop_delivering

__all__ = ["FAULTS"]

# `Any`: the servers of both kinds of cluster have most methods in common, and a `Scene` is of both.


def _stall_semisync(scene: Any) -> None:
    """Commits wait for a replica that hears nothing; the other one shows them all the while."""
    scene.standby.acknowledge()
    scene.cluster.primary.await_replicas(seconds=2)
    scene.standby.freeze()


def _end_semisync(scene: Any) -> None:
    scene.standby.thaw()
    scene.cluster.primary.await_replicas(seconds=0)


def _promote(scene: Any) -> None:
    """A replica that lacks the latest writes becomes the primary; the old one goes on, or not."""
    cluster, new, old = scene.cluster, scene.standby, scene.cluster.primary
    if scene.chance.random() < 0.3:
        scene.other.follow(new)  # and goes with it into the new term
    new.partition()
    time.sleep(0.2)  # for the tail that is lost
    cluster.promote(new)
    if scene.chance.random() < 0.5:
        old.kill()


def _rejoin(scene: Any) -> None:
    """All others follow the new primary, and lose what it lacks."""
    cluster = scene.cluster
    for server in cluster.standbys:
        if server.upstream is not cluster.primary:
            cluster.rejoin(server)


def _switch(scene: Any) -> None:
    """The roles change in order: nothing is lost, and the old primary follows the new one."""
    cluster, new, old = scene.cluster, scene.standby, scene.cluster.primary
    old.stop_writes()
    new.caught_up(old)
    cluster.promote(new)
    for server in cluster.standbys:
        server.follow(new)


FAULTS: Final[Mapping[str, Fault]] = {
    "pause": Fault(lambda s: s.standby.pause(), lambda s: s.standby.resume()),
    "partition": Fault(lambda s: s.standby.partition(), lambda s: s.standby.heal()),
    "freeze replica": Fault(lambda s: s.standby.freeze(), lambda s: s.standby.thaw()),
    "freeze primary": Fault(
        lambda s: s.cluster.primary.freeze(), lambda s: s.cluster.primary.thaw()
    ),
    "kill replica": Fault(lambda s: s.standby.kill(), lambda s: s.standby.start()),
    "kill primary": Fault(lambda s: s.cluster.primary.kill(), lambda s: s.cluster.primary.start()),
    "promote": Fault(_promote, _rejoin, loses=True),
    "switch": Fault(_switch),
    "stall semi-synchronous": Fault(_stall_semisync, _end_semisync),
    "follow another": Fault(
        lambda s: s.standby.follow(s.other), lambda s: s.standby.follow(s.cluster.primary)
    ),
    "rotate": Fault(lambda s: s.cluster.primary.sql("FLUSH BINARY LOGS", database="")),
    "black hole": Fault(stop_delivering, deliver_again),
    "cut": Fault(lambda s: s.network(s.proxy.cut)),
    "cut in COMMIT": Fault(
        lambda s: s.network(s.front.cut_at, b"COMMIT"),
        lambda s: s.network(s.front.cut_at, b""),
        struck=lambda s: s.front.has_cut,
    ),
}
"""By name."""
