"""Whether the revision files, the ledger and Alembic's own table agree.

Everything here is a pure function of what was read.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from orm.migrations.files.line import RENUMBER, Finding, findings_in_files, is_numbered
from orm.migrations.files.numbers import is_number
from orm.migrations.ledger.applied import Applied
from orm.migrations.revision import Revision

__all__ = ["findings", "pending"]


def findings(
    files: Sequence[Revision], applied: Sequence[Applied], heads: Collection[str]
) -> list[Finding]:
    """The reasons not to apply the pending revisions; empty if all agree.

    Args:
        files: the revision files.
        applied: the ledger.
        heads: the rows of ``alembic_version``.
    """
    against = [*_against_the_ledger(files, applied), *_against_alembic(applied, heads)]
    alone = findings_in_files(files)
    if any(finding.kind == "deleted" for finding in against):  # it is the gap, and says more
        alone = [finding for finding in alone if finding.kind != "gap"]
    return [*alone, *against]


def pending(files: Sequence[Revision], applied: Iterable[Applied]) -> list[Revision]:
    """The files that are not applied yet, in their order."""
    done = {row.revision for row in applied}
    # By number, if they are numbers.
    return sorted(
        (file for file in files if file.id not in done), key=lambda file: (len(file.id), file.id)
    )


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
                f"accept the new name with orm migrations repair {row.revision}",
            )
        if file.checksum != row.checksum:
            yield Finding(
                "edited",
                row.revision,
                f"{file.name}.py was edited after it was applied {when}: put the old text back and "
                "write the change as a new revision; if the change makes no difference to a "
                f"database, accept it with orm migrations repair {row.revision}",
            )
    if not applied or any(not is_number(row.revision) for row in applied):
        return
    last = max(applied, key=lambda row: int(row.revision))
    for file in pending(files, applied):
        if is_numbered(file) and int(file.id) < int(last.revision):
            yield Finding(
                "late",
                file.id,
                f"{file.name}.py comes too late, {last.name}.py is applied already: give it the "
                f"next free number, with {RENUMBER}",
            )


def _against_alembic(applied: Sequence[Applied], heads: Collection[str]) -> Iterator[Finding]:
    if not applied:
        for head in sorted(heads):
            yield Finding(
                "unrecorded",
                head,
                f"alembic_version says that the database is at revision {head}, and there is no "
                "ledger: if the files are what was applied, adopt the database with "
                f"orm migrations baseline {head}",
            )
    elif set(heads) != {applied[-1].revision}:
        yield Finding(
            "version",
            applied[-1].revision,
            f"alembic_version says {', '.join(sorted(heads)) or 'nothing'}, and the ledger says "
            f"{applied[-1].revision}: another program has changed one of them. Find out which is "
            "right: orm migrations repair makes alembic_version what the ledger says, and orm "
            "migrations baseline makes the ledger what alembic_version says",
        )
