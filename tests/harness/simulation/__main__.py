"""``python -m tests.harness.simulation``: simulated trials, for as long as you like."""

import logging
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Final

import click

from tests.harness.report import report
from tests.harness.simulation.nemesis import FAULTS
from tests.harness.simulation.trial import plan, run, smallest

_BOUND: Final = 30.0
"""Seconds that no read may take: the four statements that the longest has, on a server that takes
6 s for each, the most that the nemesis has it take, and the fence."""


@click.command()
@click.option("--seed", default=1, show_default=True, help="Of the first trial; the next is +1.")
@click.option("--operations", default=20_000, show_default=True, help="Stop after so many.")
@click.option("--each", default=500, show_default=True, help="Operations of one trial.")
@click.option("--only", type=click.Choice(FAULTS), help="This fault and no other.")
@click.option("--shrink", is_flag=True, help="Look for a smaller trial that shows it too.")
@click.option("--output", type=click.Path(path_type=Path), help="A folder for what was found.")
def main(
    seed: int, operations: int, each: int, only: str | None, shrink: bool, output: Path | None
) -> None:
    """Run trials with seeded faults until one finds a violation, or a read that takes too long.

    Exits with 1 then.

    The same seed, operations of each trial and fault give the same trial, event for event.
    """
    for noise in ("orm", "sqlalchemy"):
        logging.getLogger(noise).setLevel(logging.CRITICAL)  # servers fail all the time
    began, done, virtual, longest = process_time(), 0, 0.0, 0.0
    outcomes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    while done < operations:
        trial = plan(seed, each, only=only)
        try:
            result = run(trial)
        except Exception as error:
            error.add_note(f"The seed of this trial: {seed}")
            raise
        done += len(result.history)
        virtual += result.seconds
        longest = max(longest, result.longest)
        outcomes += Counter(f"{o.kind} {o.outcome}" for o in result.history)
        faults += result.faults
        if result.violations:
            if shrink:
                trial = smallest(trial)
                result = run(trial)
                click.echo(f"as small as it gets: {trial}")
            report(str(seed), result.history, result.violations, output)
            raise click.exceptions.Exit(1)
        if result.longest > _BOUND:
            raise click.ClickException(f"seed {seed}: a read took {result.longest:.1f} s")
        seed += 1
    rate = done / (process_time() - began)
    click.echo(f"{done} operations, {rate:.0f} a second, next seed {seed}: no violation")
    click.echo(f"virtual time: {virtual / 3600:.1f} hours; the longest read: {longest:.1f} s")
    click.echo(f"outcomes: {dict(sorted(outcomes.items()))}")
    click.echo(f"faults: {dict(sorted(faults.items()))}")


if __name__ == "__main__":
    main()
