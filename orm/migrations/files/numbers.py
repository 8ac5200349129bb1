"""Revisions are numbers, ``0001``, ``0002``, …: the next one, and new ones after a merge."""

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orm.migrations.files.lock import locked
from orm.migrations.revision import Revision

__all__ = ["Renumbered", "carry_out", "in_line", "is_number", "next_number", "rewritten"]

_DIGITS: Final = 4


def is_number(revision: str) -> bool:
    """Whether a revision's id is a number."""
    return revision.isascii() and revision.isdecimal()


def next_number(revisions: Iterable[str]) -> int:
    """The number after the highest one; ids that are no numbers do not count."""
    return max((int(one) for one in revisions if is_number(one)), default=0) + 1


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A revision that gets another place in the line.

    Attributes:
        file: as it is.
        id: its new number.
        down: the revision that it will follow.
    """

    file: Revision
    id: str
    down: str | None

    @property
    def path(self) -> Path:
        """The new name of its file."""
        rest = self.file.name.removeprefix(self.file.id)
        return self.file.path.with_name(f"{self.id}{rest}.py")


def in_line(files: Sequence[Revision], kept: Collection[Revision]) -> list[Renumbered]:
    """What has to be changed so that the files are one line; nothing is changed yet.

    Those that are kept come first. The others follow them by their numbers, and those of the same
    number by their names.

    Args:
        files: all revisions; each id is a number.
        kept: the revisions that keep their numbers.
    """
    width = max((len(file.id) for file in files), default=_DIGITS)
    last = max((file.id for file in kept), key=int, default=None)
    found: list[Renumbered] = []
    # By number: what a revision of either branch builds upon has a lower number.
    for file in sorted(files, key=lambda file: (int(file.id), file.name)):
        if file not in kept:
            number = f"{int(last or 0) + 1:0{width}d}"
            if (file.id, file.down) != (number, last):
                found.append(Renumbered(file, number, last))
            last = number
    return found


def carry_out(folder: Path, changes: Sequence[Renumbered]) -> None:
    """Rewrite the files of a folder, and give them their new names."""
    with locked(folder):
        written = [(change, rewritten(change)) for change in changes]
        for change, _ in written:  # first, since one may get the name of another
            change.file.path.unlink()
        for change, content in written:
            with change.path.open("xb") as new:
                new.write(content)


def rewritten(change: Renumbered) -> bytes:
    """The text of a file with its new numbers."""
    content = change.file.path.read_bytes()
    lines = content.splitlines(keepends=True)
    wanted = {"revision": change.id, "down_revision": change.down}
    for name, value in _assigned(ast.parse(content)):
        if name in wanted:
            new = "None" if wanted[name] is None else f'"{wanted[name]}"'
            line = lines[value.lineno - 1]  # a string without a line break, or None
            lines[value.lineno - 1] = (
                line[: value.col_offset] + new.encode() + line[value.end_col_offset :]
            )
    return b"".join(lines)


def _assigned(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass
