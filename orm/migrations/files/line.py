"""One line of history: what is wrong with the revision files, from the files alone."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from orm.exceptions import MigrationError
from orm.migrations.files.numbers import is_number
from orm.migrations.revision import Revision

__all__ = [
    "Finding",
    "Kind",
    "command_line",
    "findings_in_files",
    "is_numbered",
    "refuse",
    "up_to",
]

K = TypeVar("K", bound=Hashable)


def command_line(command: str, target: str | None = None) -> str:
    """A command of ``orm migrations`` as messages print it: to be pasted, and to run.

    Args:
        command: its name, arguments and other options, as a shell reads them.
        target: ``"local"`` or ``"remote"``; None if that is not known here: then both are printed.
    """
    targets = ("local", "remote") if target is None else (target,)
    return ", or ".join(f"orm migrations {command} --{one}" for one in targets)


Kind = Literal[
    "number",
    "duplicate",
    "heads",
    "gap",
    "follows",
    "checkpoint",
    "edited",
    "renamed",
    "deleted",
    "late",
    "replaced",
    "unrecorded",
    "version",
    "half_done",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason to apply nothing.

    Attributes:
        kind: for programs.
        revision: the revision that it is about.
        message: a sentence that says what is wrong, and what to do.
    """

    kind: Kind
    revision: str
    message: str


def refuse(found: Sequence[Finding]) -> None:
    """Stop before anything is changed.

    Raises:
        MigrationError: there are findings; their sentences.
    """
    if found:
        raise MigrationError(".\n".join(finding.message for finding in found))


def up_to(files: Sequence[Revision], last: str) -> list[Revision]:
    """The revisions up to one of them, which is the last one of the answer.

    Args:
        files: one line, in its order.
        last: the id of a revision; or ``head``, which is the last one there is.

    Raises:
        MigrationError: there is no such revision.
    """
    if last == "head" and files:
        return list(files)
    for number, file in enumerate(files, start=1):
        if file.id == last:
            return list(files[:number])
    there = f"the last one is {files[-1].id}" if files else "there is none yet"
    raise MigrationError(f"there is no revision {last!r}: {there}")


def findings_in_files(files: Sequence[Revision], target: str | None = None) -> list[Finding]:
    """The reasons why the files are not one line; empty if they are.

    Args:
        files: the revision files.
        target: for the commands in the reasons, as `command_line` has it.
    """
    odd = [file for file in files if not is_numbered(file)]
    if odd:  # nothing else can be said of a revision that has no number
        return [
            Finding(
                "number",
                file.id,
                f"{file.name}.py holds revision {file.id!r}: a revision is a number, and its file "
                "name begins with it, as in 0002_add_a_nickname.py: correct one of the two",
            )
            for file in odd
        ]
    if misplaced := list(_misplaced_checkpoints(files)):
        return misplaced
    renumber = command_line("renumber", target)
    return [
        *_same_number(files, renumber),
        *_same_parent(files, renumber),
        *_gaps(files, renumber),
        *_wrong_parents(files),
    ]


def is_numbered(file: Revision) -> bool:
    """Whether a revision is a number, and its file's name begins with it."""
    return is_number(file.id) and file.name.partition("_")[0] == file.id


def _misplaced_checkpoints(files: Sequence[Revision]) -> Iterator[Finding]:
    for file in files:
        before = [f"{one.name}.py" for one in files if _number(one) < _number(file)]
        if file.replaces and before and not file.only_recorded:
            folder = file.path.parent.with_name("replaced")
            yield Finding(
                "checkpoint",
                file.id,
                f"{file.name}.py stands for the revisions before it, and {_several(before)} beside "
                f"it: move what comes before it to {folder}",
            )


def _several(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} to {names[-1]} are"


def _same_number(files: Sequence[Revision], renumber: str) -> Iterator[Finding]:
    for number, same in _shared(files, _number).items():
        if len({file.checksum for file in same}) == 1:  # no number would make it another revision
            what = "have the same text: keep the one that is under version control, delete the rest"
        else:
            what = (
                f"are both number {number}: give the one that is not applied anywhere yet the next "
                f"free number, with {renumber}"
            )
        yield Finding("duplicate", same[0].id, f"{_and(same)} {what}")


def _same_parent(files: Sequence[Revision], renumber: str) -> Iterator[Finding]:
    for parent, same in _shared(files, _parent).items():
        if len({_number(file) for file in same}) > 1:  # else `_same_number` has named them
            where = f"both follow {parent}" if parent else "are both the first"
            yield Finding(
                "heads",
                same[-1].id,
                f"{_and(same)} {where}: history is one line, so make the one that is not applied "
                f"anywhere yet follow the other, with {renumber}",
            )


def _gaps(files: Sequence[Revision], renumber: str) -> Iterator[Finding]:
    numbers = sorted({_number(file) for file in files})
    by_number = {_number(file): file for file in files}
    for before, after in pairwise(numbers):
        if after > before + 1:
            missing = f"{before + 1:04d}" + (f" to {after - 1:04d}" if after > before + 2 else "")
            yield Finding(
                "gap",
                by_number[after].id,
                f"{missing} is missing between {by_number[before].name}.py and "
                f"{by_number[after].name}.py: get the file back from version control; if it was "
                f"never applied anywhere, close the gap with {renumber}",
            )


def _wrong_parents(files: Sequence[Revision]) -> Iterator[Finding]:
    siblings = {file.name for same in _shared(files, _parent).values() for file in same}
    line = sorted(files, key=_number)
    for file, before in zip(line, [None, *line], strict=False):
        if file.name in siblings or (before and _number(file) != _number(before) + 1):
            continue  # another finding names it already
        if before is None:
            if file.down is not None:
                yield Finding(
                    "gap",
                    file.id,
                    f"{file.name}.py follows {file.down}, and there is no such file: get it back "
                    "from version control",
                )
        elif file.down != before.id:
            yield Finding(
                "follows",
                file.id,
                f"{file.name}.py has down_revision = {file.down!r}, and comes after "
                f'{before.name}.py: write down_revision = "{before.id}"',
            )


def _number(file: Revision) -> int:
    return int(file.id)


def _parent(file: Revision) -> str | None:
    return file.down


def _shared(files: Sequence[Revision], key: Callable[[Revision], K]) -> dict[K, list[Revision]]:
    """The values of the key that more than one file has, with these files."""
    groups: dict[K, list[Revision]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return {value: group for value, group in groups.items() if len(group) > 1}


def _and(files: Sequence[Revision]) -> str:
    *first, last = (f"{file.name}.py" for file in files)
    return f"{', '.join(first)} and {last}"
