"""What is said, and kept, of a trial that found something."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from orm.testing.consistency.checker import Violation
from orm.testing.consistency.history import History, dump
from orm.testing.consistency.timeline import picture, text

__all__ = ["report"]


def report(
    seed: str, history: History, violations: Sequence[Violation], output: Path | None
) -> None:
    """Print the shortest violations, and keep the history and a picture in a folder.

    Args:
        seed: of the trial.
        history: all operations.
        violations: the shortest first.
        output: the folder; without one nothing is kept.
    """
    click.echo(f"seed {seed}: {len(violations)} violations in {len(history)} operations")
    for violation in violations[:3]:
        click.echo(text(violation))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(dump(operation)) for operation in history]
        (output / f"{seed}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        (output / f"{seed}.svg").write_text(picture(violations[0]), "utf-8")
