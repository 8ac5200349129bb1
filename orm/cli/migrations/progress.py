"""How far ``apply`` is: a line on a terminal, or a line for each revision elsewhere."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from orm.migrations.revision import Revision

__all__ = ["progress"]

_BAR: Final = 12
"""Characters of the bar."""


@contextmanager
def progress(
    pending: "Sequence[Revision]", *, quiet: bool
) -> "Iterator[Callable[[Revision], None]]":
    """Show which revision runs.

    Args:
        pending: those that are to run, in their order.
        quiet: whether nothing is printed.

    Yields:
        A function to call with each revision that is applied.
    """
    if quiet:
        yield lambda file: None
    elif sys.stdout.isatty():
        after = {file.id: following.name for file, following in pairwise(pending)}
        label = "Applying"
        around = len(f"{label}  []  {len(pending)}/{len(pending)}  ") + _BAR
        bar = click.progressbar(
            [file.name for file in pending],
            label=label,
            width=_BAR,
            show_eta=False,
            show_pos=True,
            item_show_func=lambda name: _cut(name or "", around),
        )
        bar.current_item = pending[0].name
        with bar:
            yield lambda file: bar.update(1, after.get(file.id, ""))
    else:
        yield lambda file: click.echo(f"{_done(file)} {file.name}")


def _cut(name: str, around: int) -> str:
    """A name so short that the whole line fits the terminal."""
    room = max(shutil.get_terminal_size().columns - around, 5)
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _done(file: "Revision") -> str:
    return "recorded, and not run:" if file.only_recorded else "applied"
