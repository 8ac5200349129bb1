"""``renumber``: revisions of branches that were merged, in one line again."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.files.alone import alone
from orm.migrations.files.line import findings_in_files
from orm.migrations.files.revisions import Revision
from orm.migrations.ledger.state import look

__all__ = ["Renumbered", "carry_out", "plan"]


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


def plan(application: Application, target: str) -> list[Renumbered]:
    """What would have to be changed to have one line; nothing is.

    What is applied to the target keeps its place. Behind it the others follow by their numbers, and
    those of one number by their names.

    Args:
        application: whose revisions.
        target: ``"local"`` or ``"remote"``: the database whose ledger says what is applied.

    Raises:
        MigrationError: an applied revision is edited, deleted or renamed, or the files cannot be
            put into a line.
        DBAPIError, OSError: the database cannot be read.
    """
    state = look(application, target)
    applied = {row.revision: row for row in state.applied}
    kept = [
        file
        for file in state.files
        if file.id in applied and file.checksum == applied[file.id].checksum
    ]
    missing = applied.keys() - {file.id for file in kept}
    if missing:
        raise MigrationError(
            f"{', '.join(sorted(missing))} is applied, and no file is what was applied: see "
            f"orm migrations list --{target}"
        )
    if any(not (file.id.isascii() and file.id.isdecimal()) for file in state.files):
        raise MigrationError("\n".join(f.message for f in findings_in_files(state.files)))
    width = max((len(file.id) for file in state.files), default=4)
    last = max((file.id for file in kept), key=int, default=None)
    found: list[Renumbered] = []
    # By number: whatever a revision of either branch builds upon has a lower one.
    for file in sorted(state.files, key=lambda file: (int(file.id), file.name)):
        if file not in kept:
            number = f"{int(last or 0) + 1:0{width}d}"
            if (file.id, file.down) != (number, last):
                found.append(Renumbered(file, number, last))
            last = number
    return found


def carry_out(application: Application, changes: Sequence[Renumbered]) -> None:
    """Rewrite files, and give them their new names."""
    with alone(application.versions):
        written = [(change, _rewritten(change)) for change in changes]
        for change, _ in written:  # first, since one may get the name of another
            change.file.path.unlink()
        for change, content in written:
            with change.path.open("xb") as new:
                new.write(content)


def _rewritten(change: Renumbered) -> bytes:
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
