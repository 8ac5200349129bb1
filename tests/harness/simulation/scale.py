"""``python -m tests.harness.simulation.scale``: what application processes cost their servers.

One process is measured, on simulated servers, and multiplied: processes know nothing of each other.
"""

import asyncio
import logging
from collections import Counter

import click
from sqlalchemy import event
from sqlalchemy.pool import Pool

from orm.database import Database
from orm.servers.replica import Replica
from orm.testing.consistency.tables import registers
from tests.harness.simulation.driver import worlds
from tests.harness.simulation.loop import VirtualLoop
from tests.harness.simulation.world import Machine, World

__all__ = ["main", "measure"]

_SECONDS = 600
_READS = 20  # a second, under load


def measure(replicas: int, *, reads: bool, zones: int = 1) -> tuple[float, float, float]:
    """What one process asks of each server in a second.

    Args:
        replicas: how many, evenly in zones.
        reads: whether it reads all the time, or is idle.
        zones: how many; it prefers one of them.

    Returns:
        Probes a second of a replica that it prefers, and of one that it does not; and connections a
        second that it makes, to all servers together.
    """
    probes: Counter[str] = Counter()
    made = 0
    right = Machine.position

    def position(self: Machine) -> tuple[dict[int, int], int]:
        probes[self.name] += 1
        return right(self)

    def connected(*_: object) -> None:
        nonlocal made
        made += 1

    async def run() -> None:
        nonlocal made
        world = worlds["scale"] = World("scale", 1, (1,) * replicas, 0.001, samples=False)
        primary, *others = (f"simulated:///scale/{address}" for address in world.addresses)
        given = [Replica(url, zone=str(n % zones)) for n, url in enumerate(others)]
        async with Database(primary, replicas=given, zones=["0"]) as database:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(60)
            probes.clear()
            made = 0
            until = loop.time() + _SECONDS
            while loop.time() < until:
                if reads:
                    async with database.session() as session:
                        await session.execute(registers())
                await asyncio.sleep(1 / _READS)

    Machine.position = position  # type: ignore[method-assign]
    event.listen(Pool, "connect", connected)
    try:
        VirtualLoop().run(run())  # type: ignore[abstract] # no sockets, processes or signals here
    finally:
        Machine.position = right  # type: ignore[method-assign]
        event.remove(Pool, "connect", connected)
    near = probes["replica-1.0"] / _SECONDS
    far = probes["replica-2.0"] / _SECONDS
    return near, far, made / _SECONDS


@click.command()
@click.option("--replicas", default=10, show_default=True)
def main(replicas: int) -> None:
    """Probes a second that each server gets, from 1, 100 and 2,000 processes."""
    logging.getLogger("orm").setLevel(logging.CRITICAL)
    kinds = {
        "idle": measure(replicas, reads=False),
        "under load, in all zones": measure(replicas, reads=True),
        "under load, in the zone": measure(replicas, reads=True, zones=2),
    }
    near, far, made = kinds["under load, in the zone"]
    kinds["under load, in another zone"] = (far, near, made)
    click.echo(f"{'':30}{1:>10}{100:>10}{2000:>10}   connections of one, a second")
    for name, (probes, _, made) in kinds.items():
        figures = "".join(f"{probes * processes:10.1f}" for processes in (1, 100, 2000))
        click.echo(f"{name:30}{figures}   {made:.2f}")


if __name__ == "__main__":
    main()
