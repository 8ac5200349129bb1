"""``python -m tests.harness.trials``: trials with faults, for as long as you like."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

import click

from orm.testing import mysql, postgresql
from tests.harness.report import report
from tests.harness.trials import cluster_trial, trial

_BOUND: Final = 30.0
"""Seconds that no read may take, on a machine that does other things, too."""


@contextmanager
def _trials(engine: str) -> Iterator[Callable[..., Coroutine[Any, Any, trial.Result]]]:
    """What runs a trial of a seed, in a folder."""
    if engine == "sqlite":
        yield lambda seed, each, only, folder: trial.run(trial.plan(seed, each, only=only), folder)
        return
    with _CLUSTERS[engine]() as cluster:
        faults = cluster_trial.faults_of(cluster)
        yield lambda seed, each, only, folder: cluster_trial.run(
            cluster_trial.plan(seed, each, faults=faults, only=only), cluster, folder
        )


_CLUSTERS: Final[dict[str, Callable[[], postgresql.Cluster | mysql.Cluster]]] = {
    "postgresql": postgresql.Cluster,
    "mariadb": lambda: mysql.Cluster("mariadb"),
    "mysql": lambda: mysql.Cluster("mysql"),
}


@click.command()
@click.option("--sqlite", "engine", flag_value="sqlite", default=True, help="The default.")
@click.option("--postgresql", "engine", flag_value="postgresql", help="On a cluster of it.")
@click.option("--mariadb", "engine", flag_value="mariadb", help="On a cluster of it.")
@click.option("--mysql", "engine", flag_value="mysql", help="On a cluster of it.")
@click.option("--seed", default=1, show_default=True, help="Of the first trial; the next is +1.")
@click.option("--operations", default=20_000, show_default=True, help="Stop after so many.")
@click.option("--duration", type=float, help="Stop after so many seconds.")
@click.option("--each", default=2_000, show_default=True, help="Operations of one trial.")
@click.option("--only", help="This fault and no other; see nemesis, or cluster_faults.")
@click.option("--output", type=click.Path(path_type=Path), help="A folder for what was found.")
def main(
    engine: str,
    seed: int,
    operations: int,
    duration: float | None,
    each: int,
    only: str | None,
    output: Path | None,
) -> None:
    """Run trials with seeded faults until one finds a violation. Exits with 1 then."""
    began = monotonic()
    done = 0
    busy = longest = 0.0
    outcomes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    with _trials(engine) as run:
        while done < operations and (duration is None or monotonic() - began < duration):
            with tempfile.TemporaryDirectory(prefix="orm-trial-") as folder:
                try:
                    result = asyncio.run(run(seed, each, only, Path(folder)))
                except Exception as error:
                    error.add_note(f"The seed of this trial: {seed}")
                    raise
            done += len(result.history)
            took = max((o.end - o.start for o in result.history if o.kind == "read"), default=0.0)
            longest = max(longest, took)
            busy += result.seconds
            outcomes += Counter(f"{o.kind} {o.outcome}" for o in result.history)
            faults += result.faults
            click.echo(
                f"seed {seed}: {len(result.history)} operations with "
                f"{result.faults.total()} faults in {result.seconds:.0f} s",
                err=True,
            )
            if result.violations:
                report(str(seed), result.history, result.violations, output)
                raise click.exceptions.Exit(1)
            if took > _BOUND:
                raise click.ClickException(f"seed {seed}: a read took {took:.1f} s")
            seed += 1
    click.echo(f"{done} operations, {done / busy:.0f} a second, next seed {seed}: no violation")
    click.echo(f"the longest read: {longest:.1f} s")
    click.echo(f"outcomes: {dict(sorted(outcomes.items()))}")
    click.echo(f"faults: {dict(sorted(faults.items()))}")


if __name__ == "__main__":
    main()
