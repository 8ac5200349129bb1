"""Where sessions, tasks and processes leave bookmarks for each other."""

import random
from pathlib import Path
from typing import Final, NamedTuple, Protocol

__all__ = ["Board", "Handed", "Shelf"]

_RECENT: Final = 16_384
"""Bytes at the end of the file that bookmarks are picked from."""


class Handed(NamedTuple):
    """A bookmark, and the operation that handed it out."""

    operation: str
    token: str


class Shelf(Protocol):
    """Where clients leave bookmarks, and find them."""

    def post(self, handed: Handed) -> None:
        """Leave a bookmark for any client to pick."""
        ...

    def pick(self, chance: random.Random, most: int) -> list[Handed]:
        """Up to so many of the latest bookmarks, in any order; one may come twice."""
        ...


class Board:
    """Bookmarks in a file that several processes append to.

    Args:
        file: made when the first one is posted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def post(self, handed: Handed) -> None:
        """Leave a bookmark for any client to pick."""
        # One write() to a file in append mode: lines of several processes do not mix.
        with self._file.open("a", encoding="ascii") as out:
            out.write(f"{handed.operation} {handed.token}\n")

    def pick(self, chance: random.Random, most: int) -> list[Handed]:
        """Up to so many of the latest bookmarks, in any order; one may come twice."""
        try:
            with self._file.open("rb") as file:
                file.seek(max(0, self._file.stat().st_size - _RECENT))
                lines = file.read().decode("ascii").splitlines(keepends=True)[1:]
        except FileNotFoundError:
            return []
        whole = [line.split() for line in lines if line.endswith("\n")]
        if not whole:
            return []
        return [Handed(*chance.choice(whole)) for _ in range(chance.randint(1, most))]
