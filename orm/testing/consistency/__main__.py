"""``python -m orm.testing.consistency``: trials on the embedded SQLite, for as long as you like."""

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic

import click

from orm.testing.consistency.report import report
from orm.testing.consistency.trial import plan, run


@click.command()
@click.option("--seed", default=1, show_default=True, help="Of the first trial; the next is +1.")
@click.option("--operations", default=20_000, show_default=True, help="Stop after so many.")
@click.option("--duration", type=float, help="Stop after so many seconds.")
@click.option("--each", default=2_000, show_default=True, help="Operations of one trial.")
@click.option("--only", help="This fault and no other; see orm.testing.consistency.nemesis.")
@click.option("--output", type=click.Path(path_type=Path), help="A folder for what was found.")
def main(
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
    busy = 0.0
    outcomes: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    while done < operations and (duration is None or monotonic() - began < duration):
        with tempfile.TemporaryDirectory(prefix="orm-trial-") as folder:
            try:
                result = asyncio.run(run(plan(seed, each, only=only), Path(folder)))
            except Exception as error:
                error.add_note(f"The seed of this trial: {seed}")
                raise
        done += len(result.history)
        busy += result.seconds
        outcomes += Counter(f"{o.kind} {o.outcome}" for o in result.history)
        faults += result.faults
        if result.violations:
            report(str(seed), result.history, result.violations, output)
            raise click.exceptions.Exit(1)
        seed += 1
    click.echo(f"{done} operations, {done / busy:.0f} a second, next seed {seed}: no violation")
    click.echo(f"outcomes: {dict(sorted(outcomes.items()))}")
    click.echo(f"faults: {dict(sorted(faults.items()))}")


if __name__ == "__main__":
    main()
