"""The servers of a simulation: where each one is, and what can happen to it.

A replica has four points, each at or behind the one before: what it has *received*, what its reads
*see*, what it *says* it has (`Backend.position`), and what a crash leaves it (*durable*).
"""

import asyncio
import random
from typing import Final

from orm.testing.simulation.store import Store, Transaction

__all__ = ["Machine", "World"]

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
        self.store = Store(keys)
        self.history = "simulated"
        self.latency = latency
        self.samples = samples
        self.drops = 0.0
        """The share of requests that end in a broken connection."""
        self.conflicts = 0.0
        """The share of statements that a replica cancels."""
        self.locks: dict[int, Transaction] = {}
        self.unlocked = asyncio.Event()
        self.primary = Machine(self, "primary", is_primary=True)
        self.addresses: dict[str, list[Machine]] = {"primary": [self.primary]}
        for number, machines in enumerate(replicas, 1):
            name = f"replica-{number}"
            self.addresses[name] = [Machine(self, f"{name}.{n}") for n in range(machines)]

    @property
    def replicas(self) -> list["Machine"]:
        return [m for machines in self.addresses.values() for m in machines if not m.is_primary]

    def commit(self, transaction: Transaction) -> int:
        """Commit on the primary; where it is then."""
        at = self.store.commit(transaction)
        self.unlock(transaction)
        for machine in self.replicas:
            machine.wake()
        return at

    def unlock(self, transaction: Transaction) -> None:
        """Give back the row locks of a transaction that is over."""
        mine = [key for key, holder in self.locks.items() if holder is transaction]
        for key in mine:
            del self.locks[key]
        if mine:
            self._let_go()

    def unlock_all(self) -> None:
        """Forget all transactions."""
        self.locks.clear()
        self._let_go()

    def _let_go(self) -> None:
        self.unlocked.set()
        self.unlocked = asyncio.Event()


class Machine:
    """One physical server."""

    def __init__(self, world: World, name: str, *, is_primary: bool = False) -> None:
        self._world = world
        self._chance = world.chance
        self.name = name
        self.is_primary = is_primary
        self.starts = 1
        self.received = self.seen = self.said = self.durable = 0
        self.lag = _TICK
        self.down = self.partitioned = self.paused = self.silent = False
        """It refuses connections; receives nothing; shows nothing new; says nothing new."""
        self.slow = 0.0
        """Seconds that every request takes longer."""
        self._running = asyncio.Event()
        self._running.set()
        self._ticking = False

    @property
    def incarnation(self) -> str:
        return f"{self.name}/{self.starts}"

    @property
    def snapshot(self) -> int:
        """The commit that a read sees now."""
        return self._world.store.commits if self.is_primary else self.seen

    @property
    def at_least(self) -> int:
        """What it says it has."""
        return self._world.store.commits if self.is_primary else self.said

    @property
    def at_most(self) -> int:
        """What it may have shown."""
        return self._world.store.commits if self.is_primary else self.received

    # Replication -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Go on replicating, if there is anything to do."""
        if not self._ticking and not self._idle():
            self._ticking = True
            delay = self._chance.random() * 2 * self.lag
            asyncio.get_running_loop().call_later(delay, self._tick)

    def _idle(self) -> bool:
        head = self._world.store.commits
        return (
            self.is_primary
            or self.down
            or self.frozen
            or (
                (self.partitioned or self.received == head)
                and (self.paused or self.seen == self.received)
                and (self.silent or self.said == self.seen)
            )
        )

    def _tick(self) -> None:
        self._ticking = False
        if self._idle():
            return
        between = self._chance.randint
        match self._chance.randrange(4):
            case 0 if not self.partitioned:
                self.received = between(self.received, self._world.store.commits)
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
        """Whether it answers nobody, and hangs up on nobody."""
        return not self._running.is_set()

    def freeze(self) -> None:
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()
        self.wake()

    async def awake(self) -> None:
        """Return when it is not frozen."""
        while self.frozen:
            await self._running.wait()

    def crash(self) -> None:
        """Go down, and lose what is not durable."""
        self.down = True
        self.starts += 1
        self.received = self.seen = self.said = self.durable
        self._running.set()
        if self.is_primary:
            self._world.unlock_all()

    def restart(self) -> None:
        self.down = False
        self.wake()
