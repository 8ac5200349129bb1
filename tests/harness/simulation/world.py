"""The servers of a simulation: where each one is, and what can happen to it.

A replica has four points, each at or behind the one before: what it has *received*, what its reads
*see*, what it *says* it has (`Backend.position`), and what a crash leaves it (*durable*).

One that is promoted goes on in a timeline of its own, and who has more than it had has to forget
that before it can follow.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from tests.harness.simulation.store import Snapshot, Store, Transaction

__all__ = ["Machine", "World"]

_NEVER: Final = 2**62
_TICK: Final = 0.002
"""Seconds, about, from one step of a replica's to the next, without lag."""


class World:
    """All servers, and the network between them and the clients.

    Args:
        seed: of all chances.
        keys: how many registers there are.
        replicas: for each replica's address, how many machines are behind it.
        latency: the longest that a request or an answer travels, in seconds.
        samples: whether the position of a commit takes a request of its own.
    """

    def __init__(
        self, seed: str, keys: int, replicas: tuple[int, ...], latency: float, *, samples: bool
    ) -> None:
        self.chance = random.Random(f"{seed}/world")
        self.timelines = 1
        self.latency = latency
        self.samples = samples
        self.drops = 0.0
        """The share of requests that end in a broken connection."""
        self.conflicts = 0.0
        """The share of statements that a replica cancels."""
        self.stall = 0.0
        """The most seconds that a commit waits for a synchronous standby, in the log but unseen."""
        self.unlisted: set[str] = set()
        """Machines whose addresses are not found by who looks for replicas."""
        self.lookup_fails = False
        self.primary = Machine(self, "primary", Store(keys))
        """The one that was promoted last."""
        self.addresses: dict[str, list[Machine]] = {"primary": [self.primary]}
        for number, machines in enumerate(replicas, 1):
            name = f"replica-{number}"
            self.addresses[name] = [
                Machine(self, f"{name}.{n}", self.primary.store, self.primary)
                for n in range(machines)
            ]

    def listed(self) -> list[str]:
        """The addresses of the replicas that are found.

        Raises:
            OSError: none can be looked up.
        """
        if self.lookup_fails:
            raise OSError("Temporary failure in name resolution")
        return [
            address
            for address, machines in self.addresses.items()
            if address != "primary" and self.unlisted.isdisjoint(m.name for m in machines)
        ]

    @property
    def others(self) -> list["Machine"]:
        """All but the primary."""
        every = [machine for machines in self.addresses.values() for machine in machines]
        return [machine for machine in every if machine is not self.primary]


class Machine:
    """One physical server.

    Args:
        world: where it is.
        name: for people.
        store: of the timeline that it is on.
        upstream: what it replicates; a primary has none.
    """

    def __init__(
        self, world: World, name: str, store: Store, upstream: "Machine | None" = None
    ) -> None:
        self._world = world
        self._chance = world.chance
        self.name = name
        self.store = store
        self.upstream = upstream
        self.starts = 1
        self.received = self.seen = self.said = self.durable = 0
        self.lag = _TICK
        self.down = self.partitioned = self.paused = self.silent = False
        """It refuses connections; receives nothing; shows nothing new; says nothing new."""
        self.slow = 0.0
        """Seconds that every request takes longer."""
        self._running = asyncio.Event()
        self._running.set()
        self._lit = asyncio.Event()
        self._lit.set()
        self._held: list[Callable[[], object]] = []
        self._ticking = False

    @property
    def incarnation(self) -> str:
        return f"{self.name}/{self.starts}"

    @property
    def is_primary(self) -> bool:
        return self.upstream is None

    @property
    def head(self) -> int:
        """What it has."""
        return self.store.commits if self.is_primary else self.received

    @property
    def snapshot(self) -> Snapshot:
        """What a read sees now."""
        return self.store.latest if self.is_primary else Snapshot(self.seen)

    def commit(self, transaction: Transaction) -> None:
        """Commit, as a primary. It is shown at once, or later."""
        self.store.commit(transaction)
        for machine in self._world.others:
            machine.wake()
        if self._world.stall:
            delay = self._chance.random() * self._world.stall
            asyncio.get_running_loop().call_later(delay, self.store.unlock, transaction)
        else:
            self.store.unlock(transaction)

    # What it can be asked, as `Backend` has it ------------------------------------------------

    def position(self) -> tuple[dict[int, int], int]:
        """What it says it has, by timelines."""
        return self.store.where(self.store.commits if self.is_primary else self.said), 0

    def at_most(self) -> tuple[dict[int, int], int]:
        """What it may have shown, on the timeline that it is on."""
        end = 0 if self.is_primary else self.store.ends[self.seen]
        return dict([self.store.where(self.head).popitem()]), end

    def shows(self) -> tuple[dict[int, int], int, dict[int, int] | None]:
        """The same, and besides what it says it has, if it is no primary."""
        return *self.at_most(), None if self.is_primary else self.position()[0]

    def written(self) -> tuple[dict[int, int], int]:
        """What any server may have shown."""
        return self.at_most()[0], self.store.next

    def hidden(self, shown: int) -> frozenset[int]:
        running = self.store.running if self.is_primary else ()
        return frozenset(number for number in running if number < shown)

    def shown(self, hidden: frozenset[int]) -> frozenset[int]:
        commit_of = self.store.commit_of
        return frozenset(number for number in hidden if commit_of.get(number, _NEVER) <= self.seen)

    def ending(self, hidden: frozenset[int]) -> frozenset[int]:
        return frozenset(number for number in hidden if self.store.running.get(number))

    # Replication -----------------------------------------------------------------------------

    def promote(self) -> None:
        """Become the primary, with nothing but what was received."""
        self._world.timelines += 1
        self.store = self.store.fork(self.received, self._world.timelines)
        self.upstream, self._world.primary = None, self

    def follow(self, primary: "Machine") -> None:
        """Replicate it from here on; what it does not have is gone."""
        common = self.store.common(self.head, primary.store)
        if self.is_primary or common < self.head:
            self.crash()
            self.store = primary.store
            self.durable = self._chance.randint(common, primary.head)
            self.received = self.seen = self.said = self.durable
            self.down = False
        self.upstream = primary
        self.wake()

    def _lacks(self, upstream: "Machine") -> bool:
        """Whether there is anything to receive, and not of a timeline that went another way."""
        if self.store is upstream.store:
            return self.received < upstream.head
        return self.store.common(self.received, upstream.store) == self.received

    def wake(self) -> None:
        """Go on replicating, if there is anything to do."""
        if not self._ticking and not self._idle():
            self._ticking = True
            delay = self._chance.random() * 2 * self.lag
            asyncio.get_running_loop().call_later(delay, self._tick)

    def _idle(self) -> bool:
        return (
            self.upstream is None
            or self.down
            or self.frozen
            or (
                (self.partitioned or not self._lacks(self.upstream))
                and (self.paused or self.seen == self.received)
                and (self.silent or self.said == self.seen)
            )
        )

    def _tick(self) -> None:
        self._ticking = False
        upstream = self.upstream
        if upstream is None or self._idle():
            return
        between = self._chance.randint
        match self._chance.randrange(4):
            case 0 if not self.partitioned and self._lacks(upstream):
                self.store = upstream.store
                self.received = between(self.received, max(self.received, upstream.head))
            case 1 if not self.paused:
                self.seen = between(self.seen, self.received)
            case 2 if not self.silent:
                self.said = between(self.said, self.seen)
            case 3:
                self.durable = between(self.durable, self.said)
        self.wake()

    # Faults ----------------------------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """Whether it answers no request, and closes no connection."""
        return not self._running.is_set()

    def freeze(self) -> None:
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()
        self._deliver()
        self.wake()

    def when_reached(self, arrive: Callable[[], object]) -> None:
        """Have something happen as soon as it is reachable."""
        self._held.append(arrive)

    @property
    def reachable(self) -> bool:
        """Whether what is sent arrives, at a server that goes on."""
        return self._lit.is_set() and not self.frozen

    def black_out(self) -> None:
        self._lit.clear()

    def light_up(self) -> None:
        self._lit.set()
        self._deliver()

    def _deliver(self) -> None:
        held, self._held = self._held, []
        for arrive in held:
            arrive()

    async def reached(self) -> None:
        """Return when it is reachable."""
        while not self.reachable:
            await self._running.wait()
            await self._lit.wait()

    def crash(self) -> None:
        """Go down, and lose what is not durable."""
        self.down = True
        self.starts += 1
        self.received = self.seen = self.said = self.durable
        self.thaw()
        if self.is_primary:
            self.store.unlock_all()

    def restart(self) -> None:
        self.down = False
        self.wake()
