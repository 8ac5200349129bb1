"""What goes wrong in a simulation, at random."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from orm.testing.simulation.loop import VirtualLoop
from orm.testing.simulation.world import Machine, World

__all__ = ["FAULTS", "Nemesis"]

FAULTS: Final = (
    "lag pause partition silence freeze crash outage promote stall slow drop conflict jump".split()
)
"""What it can do: `outage` is of the primary, all others are of any server or of the network."""

_BETWEEN: Final = 0.03  # seconds, at most, from one fault to the next
_SHORTEST, _LONGEST = 0.002, 0.5  # seconds that most last
_PROMOTIONS: Final = 0.1
"""The share that is done: else the sessions would live in no other time than between two."""
_LONG: Final = 12.0  # seconds that some last: longer than any probe may take


class Nemesis:
    """Makes trouble.

    Args:
        world: whose servers.
        faults: which of `FAULTS`.
        seed: of when, where and what.
    """

    def __init__(self, world: World, faults: Sequence[str], seed: str) -> None:
        self._world = world
        self._faults = faults
        self._chance = random.Random(f"{seed}/nemesis")
        self.done: Counter[str] = Counter()
        """How often each fault was done."""

    async def run(self, go_on: Callable[[], bool]) -> None:
        """One fault after the other, for as long as it is to; several may last at once."""
        async with asyncio.TaskGroup() as group:
            while go_on() and self._faults:
                await asyncio.sleep(self._chance.random() * _BETWEEN)
                fault = self._chance.choice(self._faults)
                do: Callable[[Machine], Awaitable[None]] = getattr(self, f"_{fault}")
                group.create_task(do(self._chance.choice(self._world.others)))  # type: ignore[arg-type]
                self.done[fault] += 1

    async def _rest(self) -> None:
        if self._chance.random() < 0.02:
            await asyncio.sleep(self._chance.random() * _LONG)
        else:  # of all orders of magnitude alike
            await asyncio.sleep(_SHORTEST * (_LONGEST / _SHORTEST) ** self._chance.random())

    def _any(self, replica: Machine) -> Machine:
        return self._world.primary if self._chance.random() < 0.2 else replica

    async def _lag(self, replica: Machine) -> None:
        replica.lag = self._chance.choice([0.0005, 0.002, 0.02, 0.1])

    async def _pause(self, replica: Machine) -> None:
        replica.paused = True
        await self._rest()
        replica.paused = False
        replica.wake()

    async def _partition(self, replica: Machine) -> None:
        replica.partitioned = True
        await self._rest()
        replica.partitioned = False
        replica.wake()

    async def _silence(self, replica: Machine) -> None:
        """A long commit record: what it brings is seen before its position is said."""
        replica.silent = True
        await self._rest()
        replica.silent = False
        replica.wake()

    async def _freeze(self, replica: Machine) -> None:
        machine = self._any(replica)
        machine.freeze()
        await self._rest()
        machine.thaw()

    async def _crash(self, replica: Machine) -> None:
        replica.crash()
        if self._chance.random() < 0.5:
            await self._rest()
        replica.restart()

    async def _outage(self, _: Machine) -> None:
        await self._crash(self._world.primary)

    async def _promote(self, replica: Machine) -> None:
        """It lacks the latest writes; the old primary goes on, or not, until all follow the new."""
        world = self._world
        if replica.is_primary or replica.down or self._chance.random() > _PROMOTIONS:
            return
        if self._chance.random() < 0.3:
            world.primary.crash()
        replica.promote()
        for machine in world.others:
            await self._rest()
            if machine is not world.primary:
                machine.follow(world.primary)

    async def _slow(self, replica: Machine) -> None:
        machine = self._any(replica)
        machine.slow = self._chance.choice([0.01, 0.1, 1.0, 6.0])
        await self._rest()
        machine.slow = 0.0

    async def _drop(self, _: Machine) -> None:
        self._world.drops = self._chance.choice([0.01, 0.05, 0.2])
        await self._rest()
        self._world.drops = 0.0

    async def _conflict(self, _: Machine) -> None:
        self._world.conflicts = 0.2
        await self._rest()
        self._world.conflicts = 0.0

    async def _stall(self, _: Machine) -> None:
        """Commits wait for a synchronous standby, while others show them."""
        self._world.stall = self._chance.choice([0.01, 0.1, 1.0, 6.0])
        await self._rest()
        self._world.stall = 0.0

    async def _jump(self, _: Machine) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.jump(_SHORTEST * (_LONG / _SHORTEST) ** self._chance.random())
