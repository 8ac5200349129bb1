"""A folder of wrangler's migrations: which file is which revision, and whether they agree.

The first comment of a file that was exported names its revision and the checksum of the revision's
file; the second one has the checksum of the rest. So a change of either is noticed, and a later
version of this library, which may write the same revision in other words, is none.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orm.exceptions import MigrationError
from orm.migrations.files.line import Finding
from orm.migrations.revision import Revision

__all__ = ["File", "agreement", "name_of", "next_number", "read", "text_of"]

_HEAD: Final = re.compile(
    r"-- revision (?P<revision>\d+), sha256 (?P<checksum>[0-9a-f]{64})\n"
    r"-- the rest of this file: sha256 (?P<rest>[0-9a-f]{64})\n"
)
_NUMBER: Final = re.compile(r"\d+(?=_|\.sql$)")
_ODD: Final = re.compile(r"[^0-9A-Za-z_-]+")
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class File:
    """A file with SQL.

    Attributes:
        path: the file.
        number: its number in wrangler's line; None if its name begins with none.
        revision: the id of the revision that it was exported from; None if it is not exported.
        checksum: of that revision's file.
        intact: whether it is as it was exported.
    """

    path: Path
    number: int | None
    revision: str | None
    checksum: str | None
    intact: bool


def read(folder: Path) -> list[File]:
    """The files of a folder, in the order in which wrangler applies them.

    Raises:
        MigrationError: it is no folder, or a file cannot be read.
    """
    if not folder.is_dir():
        if folder.exists():
            raise MigrationError(f"{folder} is a file, and wrangler's migrations are in a folder")
        return []
    files = [_read_file(path) for path in sorted(folder.glob("*.sql")) if path.is_file()]
    return sorted(files, key=lambda file: (file.number or 0, file.path.name))


def _read_file(path: Path) -> File:
    number = _NUMBER.match(path.name)
    try:
        text = path.read_text("utf-8-sig")  # any line ending is read as \n
    except UnicodeDecodeError as error:
        raise MigrationError(f"{path} is not UTF-8 (byte {error.start})") from error
    head = _HEAD.match(text)
    return File(
        path=path,
        number=int(number[0]) if number else None,
        revision=head["revision"] if head else None,
        checksum=head["checksum"] if head else None,
        intact=head is not None and _checksum(text[head.end() :]) == head["rest"],
    )


def text_of(revision: Revision, body: str) -> str:
    """The whole text of a file."""
    return (
        f"-- revision {revision.id}, sha256 {revision.checksum}\n"
        f"-- the rest of this file: sha256 {_checksum(body)}\n{body}"
    )


def name_of(revision: Revision, number: int) -> str:
    """The name of a revision's file; wrangler keeps it in its table, and so it never changes."""
    slug = _ODD.sub("_", revision.name.removeprefix(revision.id)).strip("_") or "revision"
    return f"{number:0{_DIGITS}d}_{slug}.sql"


def next_number(files: Iterable[File]) -> int:
    """The number that wrangler would give to the next file."""
    return max((file.number or 0 for file in files), default=0) + 1


def _checksum(text: str) -> str:
    """Line endings make no difference: version control changes them."""
    same = text.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(same.encode()).hexdigest()


# Files and revisions -----------------------------------------------------------------------


def agreement(files: Sequence[File], revisions: Sequence[Revision]) -> list[Finding]:
    """Where the files contradict the revisions; a revision without a file does not.

    Args:
        files: in wrangler's order.
        revisions: one line, in its order.
    """
    exported = [file for file in files if file.revision is not None]
    by_id = {revision.id: revision for revision in revisions}
    found = [*_numbers(files), *_foreign(files)]
    for file in exported:
        found += _of_file(file, by_id.get(str(file.revision)))
    return [*found, *_order(exported, revisions)]


def _of_file(file: File, revision: Revision | None) -> Iterator[Finding]:
    name, of = file.path.name, str(file.revision)
    if revision is None:
        yield Finding(
            "deleted",
            of,
            f"{name} was exported from revision {of}, and there is no such revision: get its file "
            "back from version control; or, if the file of wrangler's was never applied anywhere, "
            "delete that",
        )
        return
    if not file.intact:
        yield Finding(
            "edited",
            of,
            f"{name} is not as it was exported: get it back from version control; or, if it was "
            "never applied anywhere, delete it, and export it again",
        )
    if file.checksum != revision.checksum:
        yield Finding(
            "edited",
            of,
            f"{revision.name}.py was changed after {name} was exported from it: get the revision "
            f"back from version control; or, if {name} was never applied anywhere, delete that, "
            "and export it again",
        )


def _numbers(files: Sequence[File]) -> Iterator[Finding]:
    numbers: dict[int, File] = {}
    for file in files:
        if file.number is None:
            yield Finding(
                "number",
                file.revision or "",
                f"{file.path.name} has no number, and so wrangler may apply it at any time: give "
                "it one, or move it to another folder",
            )
        elif file.number in numbers:
            yield Finding(
                "duplicate",
                file.revision or "",
                f"{numbers[file.number].path.name} and {file.path.name} have the same number: "
                "delete the one that was never applied anywhere, and export it again",
            )
        else:
            numbers[file.number] = file


def _foreign(files: Sequence[File]) -> Iterator[Finding]:
    """Files by hand are part of the history if they come before all revisions, and not later."""
    first = next((at for at, file in enumerate(files) if file.revision is not None), len(files))
    for file in files[first:]:
        if file.revision is None:
            yield Finding(
                "unrecorded",
                "",
                f"{file.path.name} was not exported from a revision, and comes after "
                f"{files[first].path.name}, which was: write it as a revision (orm migrations "
                'create "what D1 has" --empty, then op.execute), and delete it',
            )


def _order(exported: Sequence[File], revisions: Sequence[Revision]) -> Iterator[Finding]:
    there = {str(file.revision) for file in exported}
    wanted = [revision.id for revision in revisions if revision.id in there]
    known = set(wanted)
    order = [str(file.revision) for file in exported if file.revision in known]
    if order != wanted:
        yield Finding(
            "follows",
            wanted[0],
            f"the files have the revisions in the order {', '.join(order)}: delete those that were "
            "never applied anywhere, and export them again",
        )
        return
    for revision in revisions[: len(wanted)]:
        if revision.id not in there:
            yield Finding(
                "gap",
                revision.id,
                f"{revision.name}.py has no file, and later revisions have one: get the file back "
                "from version control",
            )
