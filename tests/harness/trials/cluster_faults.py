"""The faults of a real cluster of PostgreSQL, as data: how each is done, and undone."""

import random
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orm.testing.postgresql import Proxy

__all__ = ["COME_AND_GO", "FAULTS", "LONG", "Fault", "Scene", "deliver_again", "stop_delivering"]


@dataclass(slots=True)
class Scene:
    """Where a fault is done.

    Attributes:
        cluster: whose servers they are.
        proxies: what clients reach each server by.
        loop: of the proxies. Faults themselves block, in a thread.
        database: which one the clients use.
        chance: decides what is left open.
        standby: the one that the fault is about, if it is about a standby.
        proxy: which one it is about, if it is about the network.
    """

    cluster: Any
    proxies: Mapping[Any, Proxy]
    loop: AbstractEventLoop
    database: str
    chance: random.Random
    standby: Any
    proxy: Proxy

    @property
    def other(self) -> Any:
        """A standby that the fault is not about."""
        return next(server for server in self.cluster.standbys if server is not self.standby)

    @property
    def front(self) -> Proxy:
        """What clients reach the primary by."""
        return self.proxies[self.cluster.primary]

    def execute(self, statement: str) -> None:
        """Execute SQL on the primary."""
        self.cluster.primary.sql(statement, database=self.database)

    def network(self, change: Callable[..., None], *args: Any) -> None:
        """Change something about a proxy."""
        self.loop.call_soon_threadsafe(change, *args)


def _nothing(_: Scene) -> None:
    """It is over by itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How something goes wrong, and right again.

    Attributes:
        do: called first.
        undo: called after a while.
        loses: whether acknowledged writes may be lost by it.
        struck: asked before it is undone: whether a client has met it.
        lasts: seconds, at least.
    """

    do: Callable[[Scene], None]
    undo: Callable[[Scene], None] = _nothing
    loses: bool = False
    struck: Callable[[Scene], bool] = lambda _: True
    lasts: float = 0.0


def _restart_in_the_past(scene: Scene) -> None:
    """What it shows after this is older than what it showed before."""
    scene.standby.kill()
    scene.standby.configure("recovery_min_apply_delay = 2000")
    scene.standby.start()


def _stall_synchronous(scene: Scene) -> None:
    """Commits wait for a standby that hears nothing; other standbys show them all the while."""
    scene.cluster.primary.set("synchronous_standby_names", scene.standby.name)
    scene.standby.black_hole()


def _end_synchronous(scene: Scene) -> None:
    scene.standby.thaw()
    scene.cluster.primary.set("synchronous_standby_names", "")


def _end_asynchronous(scene: Scene) -> None:
    scene.cluster.primary.set("synchronous_commit", "on")
    scene.execute(
        "SELECT pg_logical_emit_message(false, 'trial', '', true)"
    )  # flushes the last ones


_UNFLUSHED: Final = """\
BEGIN; CREATE TABLE unflushed AS SELECT generate_series(1, 2000);
SELECT pg_sleep(0.2); ROLLBACK"""


# No client writes at the end of the log, which is then the header of a page.
_IDLE: Final = """\
BEGIN; LOCK TABLE orm_verify_register IN EXCLUSIVE MODE;
SELECT pg_switch_wal(), pg_sleep(0.2); ROLLBACK"""


def stop_delivering(scene: Scene) -> None:
    """Nothing arrives, and connections stay open."""
    scene.network(scene.proxy.black_hole)


def deliver_again(scene: Scene) -> None:
    """What was held back arrives, or the connections end."""
    if scene.chance.random() < 0.5:
        scene.network(scene.proxy.cut)
    scene.network(scene.proxy.heal)


def _promote(scene: Scene) -> None:
    """A standby that lacks the latest writes becomes the primary; the old one goes on, or not."""
    cluster, new, old = scene.cluster, scene.standby, scene.cluster.primary
    if scene.chance.random() < 0.3:
        scene.other.follow(new)  # and goes with it into the new timeline
    new.partition()
    old.sql("SELECT pg_sleep(0.2)")  # for the tail that is lost
    cluster.promote(new)
    if scene.chance.random() < 0.5:
        old.kill()


def _rejoin(scene: Scene) -> None:
    """All others follow the new primary, and lose what it lacks."""
    cluster = scene.cluster
    # The old one last: it would hand the new timeline on to the servers that still follow it.
    for server in sorted(cluster.standbys, key=lambda server: server.upstream is None):
        if server.upstream is cluster.primary:
            continue  # it went along
        if not server.is_running:
            server.start()  # recovers from its crash, and shuts down in order
        cluster.rejoin(server)


def _slow_down(scene: Scene) -> None:
    """The network takes long, and at times so long that a server behind it is taken for dead."""
    scene.network(setattr, scene.proxy, "latency", scene.chance.choice([0.005, 0.05, 0.4, 1.2]))


def _speed_up(scene: Scene) -> None:
    scene.network(setattr, scene.proxy, "latency", 0.0)


LONG: Final = 3.0
"""Seconds after which a server that does not answer has long been taken for dead."""

COME_AND_GO: Final = "come and go"
"""Done by the clients: they read from a replica less, and from one more."""

_COMMIT: Final = b"COMMIT;"
"""As both drivers end work. psycopg ends its looking at types, on connecting, without the `;`."""

FAULTS: Final[dict[str, Fault]] = {
    "pause": Fault(lambda s: s.standby.pause(), lambda s: s.standby.resume()),
    "delay": Fault(lambda s: s.standby.delay(0.2), lambda s: s.standby.delay(0)),
    "stall replay": Fault(lambda s: s.standby.stall_replay(), lambda s: s.standby.thaw()),
    "partition": Fault(lambda s: s.standby.partition(), lambda s: s.standby.heal()),
    "freeze standby": Fault(lambda s: s.standby.freeze(), lambda s: s.standby.thaw()),
    "freeze primary": Fault(
        lambda s: s.cluster.primary.freeze(), lambda s: s.cluster.primary.thaw()
    ),
    "kill standby": Fault(lambda s: s.standby.kill(), lambda s: s.standby.start()),
    "kill primary": Fault(lambda s: s.cluster.primary.kill(), lambda s: s.cluster.primary.start()),
    "restart in the past": Fault(_restart_in_the_past, lambda s: s.standby.delay(0)),
    "promote": Fault(_promote, _rejoin, loses=True),
    "stall synchronous": Fault(_stall_synchronous, _end_synchronous),
    "asynchronous": Fault(
        lambda s: s.cluster.primary.set("synchronous_commit", "off"), _end_asynchronous
    ),
    "follow another": Fault(
        lambda s: s.standby.follow(s.other), lambda s: s.standby.follow(s.cluster.primary)
    ),
    "switch segment": Fault(lambda s: s.execute("SELECT pg_switch_wal()")),
    "idle segment switch": Fault(lambda s: s.execute(_IDLE)),
    "unflushed": Fault(lambda s: s.execute(_UNFLUSHED)),
    "conflict": Fault(lambda s: s.standby.conflict(database=s.database)),
    "black hole": Fault(stop_delivering, deliver_again),
    "freeze standby for long": Fault(
        lambda s: s.standby.freeze(), lambda s: s.standby.thaw(), lasts=LONG
    ),
    "freeze primary for long": Fault(
        lambda s: s.cluster.primary.freeze(), lambda s: s.cluster.primary.thaw(), lasts=LONG
    ),
    "black hole for long": Fault(stop_delivering, deliver_again, lasts=LONG),
    "latency": Fault(_slow_down, _speed_up),
    COME_AND_GO: Fault(_nothing),
    "cut": Fault(lambda s: s.network(s.proxy.cut)),
    "cut in COMMIT": Fault(
        lambda s: s.network(s.front.cut_at, _COMMIT),
        lambda s: s.network(s.front.cut_at, b""),
        struck=lambda s: s.front.has_cut,
    ),
}
"""By name."""
