"""``python -m tests.harness.evolution``: pairs of models, for as long as you like."""

import gc
import logging
import re
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from time import process_time

import click
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from tests.harness.evolution.draw import pairs
from tests.harness.evolution.schema import Schema, source
from tests.harness.evolution.trial import ENGINES, Place, Violation, database_of, run

_EACH = 50
"""Pairs that Hypothesis draws from one seed."""


@click.command()
@click.option("--engine", type=click.Choice(ENGINES), default="sqlite")
@click.option("--pairs", "number", default=1000, show_default=True, help="Stop after so many.")
@click.option("--seed", "first", default=1, show_default=True, help="Of the first pairs.")
@click.option("--own/--no-own", default=True, help="Types of the application's own.")
@click.option("--conventions/--no-conventions", default=True, help="The convention may change.")
@click.option("--all", "go_on", is_flag=True, help="Count violations instead of stopping at one.")
def main(engine: str, number: int, first: int, own: bool, conventions: bool, go_on: bool) -> None:
    """Take applications from models to others. Exits with 1 if one of them broke the rule.

    The same engine, options and seed give the same pairs.
    """
    for noise in ("orm", "sqlalchemy", "alembic"):
        logging.getLogger(noise).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    began = process_time()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, database_of(engine) as url:
        place = Place(Path(folder) / "app", url)

        def once(pair: tuple[Schema, Schema]) -> None:
            if sum(outcomes.values()) % 50 == 49:
                gc.collect()  # each upgrade sets garbage aside
            try:
                outcome = run(pair, place)
            except Violation as violation:
                violation.add_note(f"A:\n{source(pair[0])}\nB:\n{source(pair[1])}")
                if not go_on:
                    raise
                kind = f"VIOLATION {violation.kind}"
                if not outcomes[kind]:
                    click.echo("\n".join((str(violation), *violation.__notes__)), err=True)
                outcomes[kind] += 1
                return
            outcomes[outcome.kind] += 1
            reasons.update(f"{outcome.kind}: {_gist(why)}" for why in outcome.why)

        done = 0
        while done < number:
            each = min(_EACH, number - done)
            settled = settings(
                max_examples=each,
                database=None,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                verbosity=Verbosity.quiet,
                phases=[Phase.generate, Phase.shrink],
            )
            seed(first)(settled(given(pairs(engine, own=own, conventions=conventions))(once)))()
            first += 1
            done += each
            click.echo(f"{done}: {dict(sorted(outcomes.items()))}", err=True)
    click.echo(f"{done} pairs in {process_time() - began:.0f} s of CPU, next seed {first}")
    for kind, count in outcomes.most_common():
        click.echo(f"{count:6d} {kind}")
    for reason, count in reasons.most_common():
        click.echo(f"{count:6d} {reason}")
    if any(kind.startswith("VIOLATION") for kind in outcomes):
        raise click.exceptions.Exit(1)


def _gist(sentence: str) -> str:
    """A refusal without the names and values of this one."""
    _, _, after = sentence.partition("nothing of it stays: ")
    first = (after or sentence).partition("\n")[0]
    first = re.sub(r"such as .*?\. Update", "such as …. Update", first)
    first = re.sub(r"\b(alpha|beta|gamma)\b[.\w]*|\b\d+\b|'[^']*'", "…", first, flags=re.IGNORECASE)
    return first[:110]


if __name__ == "__main__":
    main()
