"""Which replica reads go to: ``python -m benchmarks.choice``. Simulated: a seed gives all figures.

200 processes and 15 replicas in three regions. A replica works on four reads at once, of 2 ms on
average, and queues the others. For a third of the time one replica of each region is ten times as
slow. Each process chooses by what it has measured itself, with the library's own function. The
ideal knows all queues, and sends each read to where it will be answered first.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import click

from orm.bookmark import Bookmark
from orm.routing.decision import choose
from orm.servers.speed import Speed
from orm.servers.timing import HEARTBEAT

REGIONS = ("eu", "us", "asia")
REPLICAS = 5
CORES = 4
SERVICE = 0.002  # seconds that a read takes on average
NEAR, FAR = 0.001, 0.08  # seconds to a replica and back
SLOW = 10.0
NOTHING = Bookmark("benchmark", ())


@dataclass(eq=False)
class Replica:
    """A server, as it is."""

    name: str
    zone: str
    free: list[float] = field(default_factory=lambda: [0.0] * CORES)
    """When each of its cores is free again."""
    slow: Callable[[float], float] = lambda _: 1.0

    def begins(self, now: float) -> float:
        """When a read that arrives now is begun."""
        return max(now, self.free[0])

    def serve(self, arrives: float, work: float) -> float:
        """When a read that arrives at some time is done."""
        done = self.begins(arrives) + work * self.slow(arrives)
        heapq.heapreplace(self.free, done)
        return done


@dataclass(eq=False)
class Seen:
    """A server as one process knows it; what `choose` asks of `orm.servers.server.Server`."""

    replica: Replica
    trip: float
    speed: Speed = field(default_factory=Speed)
    in_use: int = 0

    def covers(self, _: Bookmark) -> bool:
        return True

    @property
    def zone(self) -> str:
        return self.replica.zone

    def load(self, now: float) -> float:
        return self.speed.seconds(now) * (self.in_use + 1)


class Process:
    """An application process: its replicas, and its turns."""

    def __init__(self, zone: str, replicas: Sequence[Replica], chance: random.Random) -> None:
        self.zone = zone
        self.zones = (zone, *(other for other in REGIONS if other != zone))
        self.seen = [Seen(one, NEAR if one.zone == zone else FAR) for one in replicas]
        self.turns = count(chance.randrange(1000))


def turns(process: Process, now: float) -> Seen:
    return process.seen[next(process.turns) % len(process.seen)]


def chosen(process: Process, now: float, zones: Sequence[str] = ()) -> Seen:
    servers: Any = process.seen
    found: Any = choose(
        NOTHING, servers, last=None, turn=next(process.turns), now=now, zones=zones, may_wait=False
    )
    return found  # type: ignore[no-any-return]


def in_zones(process: Process, now: float) -> Seen:
    return chosen(process, now, process.zones)


def ideal(process: Process, now: float) -> Seen:
    def done(seen: Seen) -> float:
        begins = seen.replica.begins(now + seen.trip / 2)
        return begins + SERVICE * seen.replica.slow(now) + seen.trip / 2

    return min(process.seen, key=done)


WAYS = {
    "taking turns": turns,
    "by speed": chosen,
    "by speed, in zones": in_zones,
    "ideal": ideal,
}


@dataclass
class Outcome:
    """What came of a way to choose."""

    seconds: list[float] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    slow: int = 0
    slowed: int = 0
    far: int = 0

    def quantile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * len(self.seconds))] * 1000


def simulate(choice: Callable[[Process, float], Seen], processes: int, duration: float) -> Outcome:
    """Run all processes for some seconds, each with 15 reads a second."""
    chance = random.Random(1)
    replicas = [Replica(f"{zone}-{n}", zone) for zone in REGIONS for n in range(1, REPLICAS + 1)]
    for replica in replicas:
        if replica.name.endswith("-1"):
            replica.slow = lambda now: SLOW if duration / 3 < now < duration * 2 / 3 else 1.0
    all_of_them = [Process(REGIONS[n % 3], replicas, chance) for n in range(processes)]
    events: list[tuple[float, int, Callable[[float], None]]] = []
    number, outcome = count(), Outcome()

    def at(when: float, do: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(number), do))

    def reading(process: Process) -> Callable[[float], None]:
        def read(now: float) -> None:
            seen = choice(process, now)
            seen.in_use += 1
            work = chance.expovariate(1 / SERVICE)
            done = seen.replica.serve(now + seen.trip / 2, work) + seen.trip / 2

            def answered(then: float) -> None:
                seen.in_use -= 1
                seen.speed.took(then - now, then)

            at(done, answered)
            at(now + chance.expovariate(15), read)
            outcome.seconds.append(done - now)
            outcome.served[seen.replica.name] += 1
            outcome.far += seen.zone != process.zone
            if duration / 3 < now < duration * 2 / 3:
                outcome.slowed += 1
                outcome.slow += seen.replica.name.endswith("-1")

        return read

    def probing(seen: Seen) -> Callable[[float], None]:
        def probe(now: float) -> None:
            waits = seen.replica.begins(now) - now
            seen.speed.probed(waits + SERVICE / 10 * seen.replica.slow(now) + seen.trip)
            at(now + HEARTBEAT, probe)

        return probe

    for process in all_of_them:
        at(chance.expovariate(15), reading(process))
        for seen in process.seen:
            at(chance.random() * HEARTBEAT, probing(seen))
    while events and events[0][0] < duration:
        when, _, do = heapq.heappop(events)
        do(when)
    return outcome


@click.command()
@click.option("--processes", default=200, show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="Simulated ones.")
def main(processes: int, seconds: float) -> None:
    """Compare ways to choose a replica."""
    click.echo(f"{'':20}{'p50':>9}{'p99':>10}{'far':>8}{'slow':>8}{'least':>8}{'most':>8}")
    for name, way in WAYS.items():
        outcome = simulate(way, processes, seconds)
        total = len(outcome.seconds)
        shares = [served / total for served in outcome.served.values()]
        click.echo(
            f"{name:20}{outcome.quantile(0.5):6.1f} ms{outcome.quantile(0.99):7.1f} ms"
            f"{outcome.far / total:8.1%}{outcome.slow / max(outcome.slowed, 1):8.1%}"
            f"{min(shares):8.1%}{max(shares):8.1%}"
        )


if __name__ == "__main__":
    main()
