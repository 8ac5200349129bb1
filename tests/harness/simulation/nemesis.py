"""What goes wrong in a simulation: drawn from a seed, or said one by one."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.world import Machine, World

__all__ = ["FAULTS", "Nemesis", "Strike", "at_random"]

_T = TypeVar("_T")

FAULTS: Final = (
    "lag pause partition silence freeze blackout crash outage promote stall slow drop conflict "
    "jump flap"
).split()
"""What it can do: `outage` is of the primary, all others are of any server or of the network."""

_BETWEEN: Final = 0.03  # seconds, at most, from one fault to the next
_SHORTEST, _LONGEST = 0.002, 0.5  # seconds that most last
_PROMOTIONS: Final = 0.1
"""The share that is done: else the sessions would live in no other time than between two."""
_LONG: Final = 12.0  # seconds that some last: longer than any probe may take
_LONGEST_OF_ALL: Final = 60.0  # that a few last: as long as an operator takes
_FOR_ANY: Final = ("freeze", "blackout", "slow")
"""What is done to the primary as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One thing that goes wrong.

    Attributes:
        fault: which of `FAULTS`.
        after: seconds since the one before, which may still last.
        on: which of the servers that it can be done to, counted round and round.
        lasts: seconds, if it is of the kind that ends.
        force: how much of it, from 0 up to 1, if there is more and less of it.
    """

    fault: str
    after: float = 0.0
    on: int = 0
    lasts: float = 0.1
    force: float = 0.0

    def choose(self, *options: _T) -> _T:
        """One of several, by `force`."""
        return options[int(self.force * len(options))]


def at_random(faults: Sequence[str], seed: str) -> Iterator[Strike]:
    """Strikes without an end.

    Args:
        faults: which of `FAULTS`.
        seed: of when, where and what.
    """
    chance = random.Random(f"{seed}/nemesis")
    after = 0.0
    while faults:
        after += chance.random() * _BETWEEN
        fault = chance.choice(faults)
        if fault == "promote" and chance.random() > _PROMOTIONS:
            continue
        if chance.random() < 0.02:
            lasts = chance.random() * chance.choice([_LONG, _LONG, _LONG, _LONGEST_OF_ALL])
        else:  # of all orders of magnitude alike
            lasts = _SHORTEST * (_LONGEST / _SHORTEST) ** chance.random()
        yield Strike(
            fault=fault,
            after=after,
            on=chance.randrange(60),
            lasts=lasts,
            force=chance.random(),
        )
        after = 0.0


class Nemesis:
    """Makes trouble.

    Args:
        world: whose servers.
        strikes: what it does, one after the other; several may last at once.
    """

    def __init__(self, world: World, strikes: Iterable[Strike]) -> None:
        self._world = world
        self._strikes = strikes
        self.done: list[Strike] = []
        """What it has begun, as far as there was anything to do it to."""

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Strike, for as long as it is to."""
        async with asyncio.TaskGroup() as group:
            for strike in self._strikes:
                await asyncio.sleep(strike.after)
                if not go_on():
                    return
                if machines := self._within_reach(strike):
                    do: Callable[[Strike, Machine], Awaitable[None]]
                    do = getattr(self, f"_{strike.fault}")
                    machine = machines[strike.on % len(machines)]
                    group.create_task(do(strike, machine))  # type: ignore[arg-type]
                    self.done.append(strike)

    def _within_reach(self, strike: Strike) -> list[Machine]:
        world = self._world
        if strike.fault == "outage":
            return [world.primary]
        if strike.fault == "promote":
            return [machine for machine in world.others if not (machine.is_primary or machine.down)]
        return world.others + [world.primary] * (strike.fault in _FOR_ANY)

    async def _lag(self, strike: Strike, replica: Machine) -> None:
        replica.lag = strike.choose(0.0005, 0.002, 0.02, 0.1)

    async def _pause(self, strike: Strike, replica: Machine) -> None:
        replica.paused = True
        await asyncio.sleep(strike.lasts)
        replica.paused = False
        replica.wake()

    async def _partition(self, strike: Strike, replica: Machine) -> None:
        replica.partitioned = True
        await asyncio.sleep(strike.lasts)
        replica.partitioned = False
        replica.wake()

    async def _silence(self, strike: Strike, replica: Machine) -> None:
        """A long commit record: what it brings is seen before its position is said."""
        replica.silent = True
        await asyncio.sleep(strike.lasts)
        replica.silent = False
        replica.wake()

    async def _freeze(self, strike: Strike, machine: Machine) -> None:
        machine.freeze()
        await asyncio.sleep(strike.lasts)
        machine.thaw()

    async def _blackout(self, strike: Strike, machine: Machine) -> None:
        """Nothing that clients send arrives, nor do answers; the servers go on."""
        machine.black_out()
        await asyncio.sleep(strike.lasts)
        machine.light_up()

    async def _crash(self, strike: Strike, machine: Machine) -> None:
        machine.crash()
        await asyncio.sleep(strike.choose(0.0, strike.lasts))
        machine.restart()

    async def _outage(self, strike: Strike, primary: Machine) -> None:
        await self._crash(strike, primary)

    async def _promote(self, strike: Strike, replica: Machine) -> None:
        """It lacks the latest writes; the old primary goes on, or not, until all follow the new."""
        world = self._world
        if strike.choose(False, False, True):
            world.primary.crash()
        replica.promote()
        for machine in world.others:
            await asyncio.sleep(strike.lasts)
            if machine is not world.primary:
                machine.follow(world.primary)

    async def _slow(self, strike: Strike, machine: Machine) -> None:
        """For a while, or by leaps."""
        slow = strike.choose(0.01, 0.1, 1.0, 6.0)
        for _ in range(strike.choose(1, 3)):
            machine.slow = slow
            await asyncio.sleep(strike.lasts / 3)
            machine.slow = 0.0
            await asyncio.sleep(strike.lasts / 3)

    async def _flap(self, strike: Strike, machine: Machine) -> None:
        """A replica goes and comes, as who looks for it sees it; or nothing can be looked up."""
        world = self._world
        if strike.choose(False, False, True):
            world.lookup_fails = True
        else:
            world.unlisted.add(machine.name)
        await asyncio.sleep(strike.lasts * 10)
        world.lookup_fails = False
        world.unlisted.discard(machine.name)

    async def _drop(self, strike: Strike, _: Machine) -> None:
        self._world.drops = strike.choose(0.01, 0.05, 0.2)
        await asyncio.sleep(strike.lasts)
        self._world.drops = 0.0

    async def _conflict(self, strike: Strike, _: Machine) -> None:
        self._world.conflicts = 0.2
        await asyncio.sleep(strike.lasts)
        self._world.conflicts = 0.0

    async def _stall(self, strike: Strike, _: Machine) -> None:
        """Commits wait for a synchronous standby, while others show them."""
        self._world.stall = strike.choose(0.01, 0.1, 1.0, 6.0)
        await asyncio.sleep(strike.lasts)
        self._world.stall = 0.0

    async def _jump(self, strike: Strike, _: Machine) -> None:
        """The clock does, as if nothing had run for a while."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.jump(_SHORTEST * (_LONG / _SHORTEST) ** strike.force)
