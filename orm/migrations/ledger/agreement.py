"""Whether the revision files, the ledger and Alembic's own table agree.

Everything here is a pure function of what was read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from shlex import quote
from typing import Final

from orm.migrations.files.line import Finding, command_line, findings_in_files, is_numbered
from orm.migrations.files.numbers import is_number
from orm.migrations.ledger.applied import Applied
from orm.migrations.revision import Revision

__all__ = ["file_of_each", "findings", "is_replaced", "lost", "pending", "resumes"]

_ANEW: Final = "; or begin the local database anew, with orm migrations reset --local"


def findings(
    files: Sequence[Revision],
    applied: Sequence[Applied],
    heads: Set[str],
    target: str | None = None,
) -> list[Finding]:
    """The reasons not to apply the pending revisions; empty if all agree.

    Args:
        files: the revision files.
        applied: the ledger.
        heads: the rows of ``alembic_version``.
        target: for the commands in the reasons, as `command_line` has it.
    """
    against = [
        *_against_the_ledger(files, applied, target),
        *_against_alembic(files, applied, heads, target),
    ]
    alone = findings_in_files(files, target)
    if any(finding.kind == "deleted" for finding in against):  # it is the gap, and says more
        alone = [finding for finding in alone if finding.kind != "gap"]
    return [*alone, *against]


def resumes(
    half_done: Mapping[str, int], pending: Sequence[Revision], target: str | None = None
) -> Finding | None:
    """What the next `apply` goes on with; None if it begins with a whole revision.

    Args:
        half_done: of each revision that was begun, and not ended, how many statements were done.
        pending: what is to be applied.
        target: for the command, as `command_line` has it.
    """
    for file in pending[:1]:
        match half_done.get(file.id):
            case None:
                continue
            case 0:
                stays = "its first statement was begun"
            case 1:
                stays = "its first statement stays"
            case done:
                stays = f"its first {done} statements stay"
        message = f"{file.name} is half done, {stays}. To go on there: "
        return Finding("half_done", file.id, message + command_line("apply", target))
    return None


def lost(half_done: Iterable[str], pending: Sequence[Revision]) -> list[Finding]:
    """The revisions that an earlier run has begun, and that are not the next ones to be applied.

    Args:
        half_done: their ids.
        pending: what is to be applied.
    """
    return [
        Finding(
            "half_done",
            revision,
            f"revision {revision} is half done, and is not the next one to be applied: give its "
            "file that number back, or get it back from version control, and apply",
        )
        for revision in sorted(half_done)
        if revision not in {file.id for file in pending[:1]}
    ]


def pending(files: Sequence[Revision], applied: Iterable[Applied]) -> list[Revision]:
    """The files that are not applied yet, in their order."""
    done = {file.name for file in file_of_each(files, applied).values()}
    # By number, if they are numbers.
    return sorted(
        (file for file in files if file.name not in done), key=lambda file: (len(file.id), file.id)
    )


def file_of_each(files: Sequence[Revision], applied: Iterable[Applied]) -> dict[str, Revision]:
    """The file of each applied revision; of several with its number, the one that was applied."""
    of_number: dict[str, list[Revision]] = {}
    for file in files:
        of_number.setdefault(file.id, []).append(file)
    return {
        row.revision: min(same, key=partial(_unlikeness, row))
        for row in applied
        if (same := of_number.get(row.revision))
    }


def _unlikeness(row: Applied, file: Revision) -> tuple[bool, bool]:
    return file.checksum != row.checksum, file.name != row.name


def is_replaced(row: Applied, files: Sequence[Revision]) -> bool:
    """Whether a checkpoint, with which the files begin, stands for an applied revision."""
    return (
        bool(files)
        and bool(files[0].replaces)
        and is_number(row.revision)
        and is_number(files[0].id)
        and int(row.revision) < int(files[0].id)
    )


def _against_the_ledger(
    files: Sequence[Revision], applied: Sequence[Applied], target: str | None
) -> Iterator[Finding]:
    by_row = file_of_each(files, applied)
    for row in applied:
        file = by_row.get(row.revision)
        when = f"on {row.applied_at:%Y-%m-%d}"
        if file is None and is_replaced(row, files):
            continue
        if file is None:
            yield _gone(row, when, files, target)
            continue
        if file.name != row.name and file.checksum != row.checksum:
            yield Finding("deleted", row.revision, _another(row, when, file, target))
            continue
        if file.name != row.name:
            yield Finding(
                "renamed",
                row.revision,
                f"{row.name}.py was applied {when}, and is now {file.name}.py: rename it back, or "
                "accept the new name with "
                + command_line(f'repair {row.revision} --reason "the file was renamed"', target),
            )
        if file.checksum != row.checksum:
            yield Finding(
                "edited",
                row.revision,
                f"{file.name}.py was edited after it was applied {when}: put the old text back and "
                "write the change as a new revision; if the change makes no difference to a "
                "database, accept it with "
                + command_line(f'repair {row.revision} --reason "it makes no difference"', target)
                + (_ANEW if target == "local" else ""),
            )
    if not applied or any(not is_number(row.revision) for row in applied):
        return
    first = files[0] if files else None
    if first and is_replaced(applied[-1], files) and not first.only_recorded:
        yield Finding(
            "replaced",
            applied[-1].revision,
            f"the database is at {applied[-1].revision}, and {first.name}.py stands for the "
            f"revisions up to {', '.join(first.replaces)}, whose files are gone: get the folder "
            f"{first.path.parent.with_name('replaced')} back from version control, and apply again",
        )
        return
    last = max(applied, key=lambda row: int(row.revision))
    for file in pending(files, applied):
        if is_numbered(file) and int(file.id) < int(last.revision):
            yield Finding(
                "late",
                file.id,
                f"{file.name}.py comes too late, {last.name}.py is applied already: give it the "
                f"next free number, with {command_line('renumber', target)}",
            )


def _another(row: Applied, when: str, file: Revision, target: str | None) -> str:
    message = (
        f"{row.name}.py was applied {when}, and here another revision has its number, "
        f"{file.name}.py. Get {row.name}.py back from the branch that has it, then give "
        f"{file.name}.py the next free number, with {command_line('renumber', target)}. If it is "
        "the same revision, give the file its old name back"
    )
    return message + (_ANEW if target != "remote" else "")


def _gone(row: Applied, when: str, files: Sequence[Revision], target: str | None) -> Finding:
    numbers = [int(file.id) for file in files if is_number(file.id)]
    if is_number(row.revision) and int(row.revision) > max(numbers, default=0):
        message = (
            f"{row.name}.py was applied {when}, and is not here: the database is ahead of this "
            "checkout. Go to the branch that has the file"
        )
        if target != "remote":
            message += _ANEW
    else:
        message = (
            f"{row.name}.py was applied {when}, and the file is gone: get it back from version "
            "control"
        )
    return Finding("deleted", row.revision, message)


def _against_alembic(
    files: Sequence[Revision], applied: Sequence[Applied], heads: Set[str], target: str | None
) -> Iterator[Finding]:
    first = files[0] if files else None
    if not applied:
        if first and first.only_recorded:
            return
        if first and first.replaces and heads and heads.isdisjoint(file.id for file in files):
            ends = " ".join(first.replaces)
            yield Finding(
                "replaced",
                first.id,
                f"alembic_version says that the database is at {', '.join(sorted(heads))}, and "
                f"{first.name}.py stands for {ends}: bring the database there first, with the "
                f"revisions that it replaces ({_old_upgrade(ends)}), and apply again",
            )
            return
        for head in sorted(heads):
            yield Finding(
                "unrecorded",
                head,
                f"alembic_version says that the database is at revision {head}, and there is no "
                "ledger: if the files are what was applied, adopt the database with "
                f"{command_line(f'baseline {quote(head)}', target)}",
            )
    elif set(heads) != {applied[-1].revision}:
        adopt = "".join(
            ". To make the ledger what alembic_version says: "
            + command_line(f"baseline {quote(head)}", target)
            for head in sorted(heads)[:1]
        )
        yield Finding(
            "version",
            applied[-1].revision,
            f"alembic_version says {', '.join(sorted(heads)) or 'nothing'}, and the ledger says "
            f"{applied[-1].revision}: another program has changed one of them. Find out which is "
            "right. To make alembic_version what the ledger says: "
            + command_line('repair --reason "the ledger is right"', target)
            + adopt,
        )


def _old_upgrade(ends: str) -> str:
    return "; ".join(f"alembic -c alembic.ini upgrade {end}" for end in ends.split())
