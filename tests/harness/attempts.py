"""Trying until it shows: how often it takes depends on what else the machine does."""

from collections.abc import Iterator
from itertools import count
from time import monotonic
from typing import Final

__all__ = ["attempts"]

_PATIENCE: Final = 200.0  # seconds; one or two attempts do, as a rule


def attempts(what: str) -> Iterator[int]:
    """Count from 0 on; to be left as soon as an attempt has shown it.

    Args:
        what: is to be seen.

    Raises:
        AssertionError: no attempt has shown it, for very long.
    """
    until = monotonic() + _PATIENCE
    for number in count():
        yield number
        assert monotonic() < until, f"{what}: not seen in {number + 1} attempts"
