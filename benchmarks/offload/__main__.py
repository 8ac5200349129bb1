"""What replicas spare the primary, and how fresh they answer: ``python -m benchmarks.offload``.

A primary and two standbys, each of which serves so many statements a second, and no more. Both
standbys lag a little all the time, and one of them a lot for a while. Each client sends a request
as soon as the one before it is answered: it raises its own counter by one, or reads its own or
another one. A read is stale if it shows less than the same client has seen of that counter before.
"""

import argparse
import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles

from sqlalchemy import insert

from benchmarks.offload.capacity import Capacity
from benchmarks.offload.clients import COUNTERS, WAYS
from benchmarks.offload.plot import plot
from orm import Database
from orm.testing.postgresql import Cluster

NAMES = {
    "primary": "primary only",
    "round-robin": "replicas in turn",
    "sticky": "primary for 2 s after a write",
    "advanced-alchemy": "advanced-alchemy",
    "bookmarks": "bookmark-orm",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a way to use the servers.

    Attributes:
        way: which.
        writes: the share of requests that write.
        throughput: requests a second.
        p50: milliseconds that half of them take at most.
        p99: the same for 99 of 100.
        replicas: the share of reads that the replicas served.
        stale: how many reads were stale.
        other: statements that were no read or write of the application's, for each request.
    """

    way: str
    writes: float
    throughput: float
    p50: float
    p99: float
    replicas: float
    stale: int
    other: float

    def __str__(self) -> str:
        return (
            f"{NAMES[self.way]:30}{self.writes:>7.0%}{self.throughput:>9.0f}/s{self.p50:>8.0f} ms"
            f"{self.p99:>8.0f} ms{self.replicas:>10.0%}{self.stale:>8}{self.other:>8.2f}"
        )


async def measure(way: str, writes: float, options: argparse.Namespace) -> Outcome:
    """Run the clients once, on servers of their own."""
    with Cluster() as cluster:
        async with AsyncExitStack() as stack:
            async with Database(cluster.primary.url()) as db, db.connect() as connection:
                await connection.run_sync(COUNTERS.metadata.create_all)
                rows = [{"id": number, "value": 0} for number in range(options.clients)]
                await connection.execute(insert(COUNTERS), rows)
                await connection.commit()
            await asyncio.to_thread(cluster.caught_up)
            for standby in cluster.standbys:
                await asyncio.to_thread(standby.delay, options.lag / 1000)
            servers = [
                await stack.enter_async_context(
                    Capacity(
                        server.port,
                        str(COUNTERS.name),
                        seconds=1 / options.capacity,
                        share=options.share,
                    )
                )
                for server in cluster.servers
            ]
            urls = [
                queue.url(server.url())
                for queue, server in zip(servers, cluster.servers, strict=True)
            ]
            program = sys.executable
            if way == "advanced-alchemy":
                program = options.advanced_alchemy
            process = await asyncio.create_subprocess_exec(
                *(program, "-m", "benchmarks.offload.clients", way),
                *("--writes", str(writes), "--clients", str(options.clients)),
                *("--seconds", str(options.seconds), *urls),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
            told = asyncio.create_task(process.communicate())
            straggler = cluster.standbys[1]
            await asyncio.wait([told], timeout=options.seconds / 3)
            await asyncio.to_thread(straggler.pause)
            await asyncio.wait([told], timeout=options.spike)
            await asyncio.to_thread(straggler.resume)
            output, _ = await told
            if process.returncode:
                sys.exit(f"{way}: the clients have failed")
            outcome = json.loads(output)
            read = [queue.served["read"] for queue in servers]
            other = sum(queue.served["other"] for queue in servers)
    percentiles = quantiles(outcome["seconds"], n=100)
    requests = len(outcome["seconds"])
    return Outcome(
        way=way,
        writes=writes,
        throughput=requests / options.seconds,
        p50=percentiles[49] * 1000,
        p99=percentiles[98] * 1000,
        replicas=sum(read[1:]) / max(sum(read), 1),
        stale=outcome["stale"],
        other=other / requests,
    )


async def main(options: argparse.Namespace) -> None:
    """Measure each way with each share of writes, and print a table."""
    ways = [way for way in WAYS if way != "advanced-alchemy" or options.advanced_alchemy]
    print(
        f"{options.clients} clients, {options.seconds:g} s for each line; a server serves "
        f"{options.capacity:g} statements a second, those without the table count "
        f"{options.share:g}; standbys are {options.lag:g} ms behind, one stands still for "
        f"{options.spike:g} s\n\n{'':30}{'writes':>7}{'requests':>11}{'p50':>11}{'p99':>11}"
        f"{'replicas':>10}{'stale':>8}{'other':>8}"
    )
    outcomes = []
    for writes in options.writes:
        for way in options.ways or ways:
            outcome = await measure(way, writes, options)
            outcomes.append(outcome)
            print(outcome, flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    if options.plot:
        options.plot.write_text(plot([asdict(outcome) for outcome in outcomes], NAMES))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add = partial(parser.add_argument)
    add("--ways", nargs="+", choices=WAYS, help="all, if it is omitted")
    add("--writes", nargs="+", type=float, default=[0.05, 0.2, 0.5], help="shares of requests")
    add("--clients", type=int, default=24)
    add("--seconds", type=float, default=20)
    add("--capacity", type=float, default=50, help="statements a second, of each server")
    add("--share", type=float, default=0.05, help="of a statement that does not name the table")
    add("--lag", type=float, default=20, help="milliseconds")
    add("--spike", type=float, default=5, help="seconds")
    add("--advanced-alchemy", metavar="PYTHON", help="of an environment that has it")
    add("--json", type=Path, metavar="FILE")
    add("--plot", type=Path, metavar="FILE", help="an SVG")
    asyncio.run(main(parser.parse_args()))
