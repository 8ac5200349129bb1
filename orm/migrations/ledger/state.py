"""The state of a database: its ledger beside the revision files. To look changes nothing."""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self

from orm.backends.sqlite import quick
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.files.checkpoints import line_for, read_replaced
from orm.migrations.files.line import Finding, command_line, findings_in_files, refuse, up_to
from orm.migrations.files.numbers import Renumbered, in_line, is_number
from orm.migrations.files.revisions import read
from orm.migrations.ledger import agreement
from orm.migrations.ledger.applied import Applied, in_order
from orm.migrations.revision import Revision
from orm.migrations.target import REMOTE_VARIABLE, target_text, target_url

__all__ = ["State", "look", "remote_state", "renumbering"]

_LEDGER: Final = "orm_revisions"
_VERSION: Final = "alembic_version"


@dataclass(frozen=True)
class State:
    """The revision files and a database, as they were read.

    Attributes:
        files: the revision files that matter to the database (`line_for`).
        applied: the ledger.
        heads: the rows of ``alembic_version``.
        half_done: of each revision that was begun, and not ended, the number of its statements that
            were done (`orm.backends.Journal`).
    """

    files: Sequence[Revision]
    applied: Sequence[Applied]
    heads: Set[str]
    half_done: Mapping[str, int] = field(default_factory=dict)
    target: str | None = None
    """``"local"`` or ``"remote"``, for the commands in findings; None if that is not known."""

    @classmethod
    def of(
        cls,
        application: Application,
        files: Sequence[Revision],
        applied: Sequence[Applied],
        heads: Set[str],
        half_done: Mapping[str, int] | None = None,
        target: str | None = None,
    ) -> Self:
        """The files of an application beside what was read from a database.

        Args:
            application: whose files.
            files: those of its folder of revisions.
            applied: the ledger.
            heads: the rows of ``alembic_version``.
            half_done: what a journal says, on an engine that has one.
            target: ``"local"`` or ``"remote"``, if that is known.

        Raises:
            MigrationError: a file that is replaced cannot be a revision.
        """
        replaced = read_replaced(application.replaced)
        line = line_for(files, replaced, [row.revision for row in applied], heads)
        return cls(line, applied, heads, half_done or {}, target)

    @cached_property
    def findings(self) -> list[Finding]:
        """Where they do not agree."""
        found = agreement.findings(self.files, self.applied, self.heads, self.target)
        return found or agreement.lost(self.half_done, self.pending())

    @property
    def resumes(self) -> Finding | None:
        """The revision that the next `apply` goes on with; None if none is half done."""
        return agreement.resumes(self.half_done, self.pending(), self.target)

    @property
    def at(self) -> str | None:
        """The last applied revision."""
        return self.applied[-1].revision if self.applied else None

    def basis(self, to: str = "head") -> tuple[str | None, list[Revision]]:
        """The revision whose schema the database has, and what `apply` would run after it.

        They differ from `at` and `pending` where a checkpoint is about to be recorded.

        Args:
            to: the last revision to apply.

        Raises:
            MigrationError: there is no such revision.
        """
        pending = self.pending(to)
        if pending and pending[0].only_recorded:
            return pending[0].id, pending[1:]
        return self.at, pending

    def file(self, revision: str) -> Revision:
        """One of the files.

        Raises:
            MigrationError: there is no such revision.
        """
        return up_to(self.files, revision)[-1]

    def pending(self, to: str = "head") -> list[Revision]:
        """What `apply` would apply.

        Args:
            to: the last revision to apply.

        Raises:
            MigrationError: there is no such revision.
        """
        pending = agreement.pending(self.files, self.applied)
        if to == "head":
            return pending
        wanted = {file.id for file in up_to(self.files, to)}
        return [file for file in pending if file.id in wanted]


def look(application: Application, target: str) -> State:
    """Read the files, and the database through a connection that cannot write.

    Args:
        application: whose files.
        target: ``"local"`` or ``"remote"``.

    Raises:
        MigrationError: a file cannot be a revision, or the database cannot be read.
        ConfigurationError: the target names no database.
    """
    files = read(application.versions)
    tables = quick.read(target_text(target, application.pyproject), [_LEDGER, _VERSION])
    if tables is not None:
        applied = in_order(Applied.of(row) for row in tables[_LEDGER])
        heads = {row["version_num"] for row in tables[_VERSION]}
        return State.of(application, files, applied, heads, target=target)

    from orm.migrations.ledger.reading import read_database  # which imports SQLAlchemy

    read_there = read_database(target_url(target, application.pyproject))
    return State.of(application, files, *read_there, target)


def renumbering(application: Application, target: str) -> list[Renumbered]:
    """What has to be changed so that the files are one line; nothing is changed yet.

    The revisions that are applied to the target keep their numbers.

    Args:
        application: whose revisions.
        target: ``"local"`` or ``"remote"``: the database whose ledger says what is applied.

    Raises:
        MigrationError: an applied revision is edited, deleted, renamed or copied, or the files
            cannot be put into a line; a revision that the remote database has would get another
            number; or a database cannot be read.
    """
    state = look(application, target)
    applied = {row.revision: row for row in state.applied}
    kept = [
        file
        for file in state.files
        if file.replaces  # it names the numbers before it
        or file.path.parent == application.replaced
        or (file.id in applied and file.checksum == applied[file.id].checksum)
    ]
    missing = {
        row.revision
        for row in state.applied
        if not agreement.is_replaced(row, state.files)
        and row.revision not in {file.id for file in kept}
    }
    if missing:
        # Not by a reference to `list`, which may find other things first, and advise this command.
        told = [one.message for one in state.findings if one.revision in missing]
        raise MigrationError(".\n".join(told))
    if any(not is_number(file.id) for file in state.files):
        raise MigrationError("\n".join(f.message for f in findings_in_files(state.files, target)))
    changes = in_line(state.files, kept)
    if not changes:
        refuse([finding for finding in state.findings if finding.kind == "duplicate"])
    if changes and target == "local" and (remote := remote_state(application)) is not None:
        _refuse_what_is_remote(remote, changes)
    return changes


def remote_state(application: Application) -> State | None:
    """What the remote database has, for a command that changes revisions; None if none is named.

    Raises:
        MigrationError: it cannot be asked; nothing was changed.
    """
    if not os.environ.get(REMOTE_VARIABLE):
        return None
    try:
        return look(application, "remote")
    except (ConfigurationError, MigrationError) as error:
        raise MigrationError(
            f"the database that {REMOTE_VARIABLE} names may have what would be changed, and cannot "
            f"be asked: {error}. Nothing was changed. Make it reachable; or, if it has none of "
            f"these revisions, take the variable away: unset {REMOTE_VARIABLE}"
        ) from error


def _refuse_what_is_remote(remote: State, changes: Sequence[Renumbered]) -> None:
    there = {(row.revision, row.checksum) for row in remote.applied}
    names = [one.file.name for one in changes if (one.file.id, one.file.checksum) in there]
    if names:
        raise MigrationError(
            f"the remote database has {', '.join(names)}, and what is applied there keeps its "
            f"number: {command_line('renumber', 'remote')}. Then begin the local database anew: "
            + command_line("reset", "local")
        )
