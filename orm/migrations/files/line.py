"""One line of history: what the revision files, the ledger and Alembic's own table must agree on.

Everything here is a pure function of what was read.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from orm.exceptions import MigrationError
from orm.migrations.files.revisions import Revision
from orm.migrations.ledger.applied import Applied

__all__ = ["Finding", "Kind", "findings", "findings_in_files", "pending", "refuse"]

K = TypeVar("K", bound=Hashable)

Kind = Literal[
    "number",
    "duplicate",
    "heads",
    "gap",
    "follows",
    "edited",
    "renamed",
    "deleted",
    "late",
    "unrecorded",
    "version",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree.

    Attributes:
        kind: for programs.
        revision: the revision that it is about.
        message: a sentence that says what is wrong, and what to do.
    """

    kind: Kind
    revision: str
    message: str


def findings(
    files: Sequence[Revision], applied: Sequence[Applied], heads: Collection[str]
) -> list[Finding]:
    """Whatever keeps the pending revisions from being applied; empty when all is well.

    Args:
        files: the revision files.
        applied: the ledger.
        heads: the rows of ``alembic_version``.
    """
    against = [*_against_the_ledger(files, applied), *_against_alembic(applied, heads)]
    alone = findings_in_files(files)
    if any(finding.kind == "deleted" for finding in against):  # that is the gap, and says more
        alone = [finding for finding in alone if finding.kind != "gap"]
    return [*alone, *against]


def pending(files: Sequence[Revision], applied: Iterable[Applied]) -> list[Revision]:
    """The files that are still to be applied, in their order."""
    done = {row.revision for row in applied}
    # By number, if they are numbers.
    return sorted(
        (file for file in files if file.id not in done), key=lambda file: (len(file.id), file.id)
    )


def refuse(found: Sequence[Finding]) -> None:
    """Stop before anything is touched.

    Raises:
        MigrationError: there are findings; their sentences.
    """
    if found:
        raise MigrationError(".\n".join(finding.message for finding in found))


# The files alone ---------------------------------------------------------------------------


def findings_in_files(files: Sequence[Revision]) -> list[Finding]:
    """Whatever keeps the files from being one line."""
    odd = [file for file in files if not _is_numbered(file)]
    if odd:  # nothing else can be said of what has no number
        return [
            Finding(
                "number",
                file.id,
                f"{file.name}.py holds revision {file.id!r}: a revision is a number, and its file "
                f"begins with it, as in 0002_add_a_nickname.py: correct the one or the other",
            )
            for file in odd
        ]
    return [*_same_number(files), *_same_parent(files), *_gaps(files), *_wrong_parents(files)]


def _same_number(files: Sequence[Revision]) -> Iterator[Finding]:
    for number, same in _shared(files, _number).items():
        yield Finding(
            "duplicate",
            same[0].id,
            f"{_and(same)} are both number {number}: give the one that is not applied anywhere yet "
            "the next free number, with orm migrations renumber",
        )


def _same_parent(files: Sequence[Revision]) -> Iterator[Finding]:
    for parent, same in _shared(files, _parent).items():
        if len({_number(file) for file in same}) > 1:  # else they are duplicates, and said to be
            where = f"both follow {parent}" if parent else "are both the first"
            yield Finding(
                "heads",
                same[-1].id,
                f"{_and(same)} {where}: history is one line, so let the one that is not applied "
                "anywhere yet follow the other, with orm migrations renumber",
            )


def _gaps(files: Sequence[Revision]) -> Iterator[Finding]:
    numbers = sorted({_number(file) for file in files})
    by_number = {_number(file): file for file in files}
    for before, after in pairwise(numbers):
        if after > before + 1:
            missing = f"{before + 1:04d}" + (f" to {after - 1:04d}" if after > before + 2 else "")
            yield Finding(
                "gap",
                by_number[after].id,
                f"{missing} is missing between {by_number[before].name}.py and "
                f"{by_number[after].name}.py: get the file back from version control, or close "
                "the gap with orm migrations renumber if it was never applied anywhere",
            )


def _wrong_parents(files: Sequence[Revision]) -> Iterator[Finding]:
    siblings = {file.name for same in _shared(files, _parent).values() for file in same}
    line = sorted(files, key=_number)
    for file, before in zip(line, [None, *line], strict=False):
        if file.name in siblings or (before and _number(file) != _number(before) + 1):
            continue  # said already
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


# The files and the ledger ------------------------------------------------------------------


def _against_the_ledger(files: Sequence[Revision], applied: Sequence[Applied]) -> Iterator[Finding]:
    by_id = {file.id: file for file in files}
    for row in applied:
        file = by_id.get(row.revision)
        when = f"on {row.applied_at:%Y-%m-%d}"
        if file is None:
            yield Finding(
                "deleted",
                row.revision,
                f"{row.name}.py was applied {when}, and the file is gone: get it back from version "
                "control",
            )
            continue
        if file.name != row.name:
            yield Finding(
                "renamed",
                row.revision,
                f"{row.name}.py was applied {when}, and is now {file.name}.py: rename it back, or "
                f"accept the name with orm migrations repair {row.revision}",
            )
        if file.checksum != row.checksum:
            yield Finding(
                "edited",
                row.revision,
                f"{file.name}.py was edited after it was applied {when}: put the old text back and "
                "write the change as a new revision; if it makes no difference to a database, "
                f"accept it with orm migrations repair {row.revision}",
            )
    if not applied or any(not _is_number(row.revision) for row in applied):
        return
    last = max(applied, key=lambda row: int(row.revision))
    for file in pending(files, applied):
        if _is_numbered(file) and _number(file) < int(last.revision):
            yield Finding(
                "late",
                file.id,
                f"{file.name}.py comes too late, {last.name}.py is applied already: give it the "
                "next free number, with orm migrations renumber",
            )


def _against_alembic(applied: Sequence[Applied], heads: Collection[str]) -> Iterator[Finding]:
    if not applied:
        for head in sorted(heads):
            yield Finding(
                "unrecorded",
                head,
                f"the database is at revision {head}, and no ledger says how it came there: if the "
                f"files are what was applied, adopt it with orm migrations baseline {head}",
            )
    elif set(heads) != {applied[-1].revision}:
        yield Finding(
            "version",
            applied[-1].revision,
            f"alembic_version says {', '.join(sorted(heads)) or 'nothing'}, and the ledger "
            f"{applied[-1].revision}: something has changed the one without the other. See which "
            "is right; orm migrations repair makes alembic_version what the ledger says, orm "
            "migrations baseline makes the ledger what alembic_version says",
        )


# Small things ------------------------------------------------------------------------------


def _is_number(revision: str) -> bool:
    return revision.isascii() and revision.isdecimal()


def _is_numbered(file: Revision) -> bool:
    return _is_number(file.id) and file.name.partition("_")[0] == file.id


def _number(file: Revision) -> int:
    return int(file.id)


def _parent(file: Revision) -> str | None:
    return file.down


def _shared(files: Sequence[Revision], key: Callable[[Revision], K]) -> dict[K, list[Revision]]:
    """What more than one file has, and the files."""
    groups: dict[K, list[Revision]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return {value: group for value, group in groups.items() if len(group) > 1}


def _and(files: Sequence[Revision]) -> str:
    *first, last = (f"{file.name}.py" for file in files)
    return f"{', '.join(first)} and {last}"
