"""A revision, as its file says it."""

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Revision"]


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision file.

    Attributes:
        id: its ``revision``, such as ``"0002"``.
        down: the revision that it follows, its ``down_revision``; None for the first one.
        name: the file's name without ``.py``.
        path: the file.
        message: the first paragraph of its docstring.
        checksum: SHA-256 of its text, in hexadecimal; line endings make no difference.
        text: all of it.
        replaces: the ends of the history that it stands for, if it is a checkpoint: the last one of
            a range of numbers, or the heads of another folder of Alembic's.
        only_recorded: whether the database has that history, so that the checkpoint does nothing.
    """

    id: str
    down: str | None
    name: str
    path: Path
    message: str
    checksum: str
    text: str = field(repr=False)
    replaces: tuple[str, ...] = ()
    only_recorded: bool = False
