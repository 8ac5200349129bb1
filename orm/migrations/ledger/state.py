"""How a database and the revision files stand to each other; looking changes nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from orm.backends.sqlite import quick
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.files import line
from orm.migrations.files.line import Finding
from orm.migrations.files.revisions import Revision, read
from orm.migrations.ledger.applied import Applied, in_order
from orm.migrations.target import target_text, target_url

__all__ = ["State", "look"]

_LEDGER: Final = "orm_revisions"
_VERSION: Final = "alembic_version"


@dataclass(frozen=True)
class State:
    """What was read.

    Attributes:
        files: the revision files.
        applied: the ledger.
        heads: the rows of ``alembic_version``.
    """

    files: Sequence[Revision]
    applied: Sequence[Applied]
    heads: Collection[str]

    @cached_property
    def findings(self) -> list[Finding]:
        """Whatever does not agree."""
        return line.findings(self.files, self.applied, self.heads)

    @property
    def at(self) -> str | None:
        """The last applied revision."""
        return self.applied[-1].revision if self.applied else None

    def pending(self, to: str = "head") -> list[Revision]:
        """What `apply` would apply.

        Args:
            to: the last revision.

        Raises:
            MigrationError: there is no such revision.
        """
        pending = line.pending(self.files, self.applied)
        if to == "head":
            return pending
        if all(file.id != to for file in self.files):
            raise MigrationError(f"there is no revision {to!r}: see orm migrations list")
        wanted = [number for number, file in enumerate(pending, start=1) if file.id == to]
        return pending[: wanted[0]] if wanted else []


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
        return State(files, applied, {row["version_num"] for row in tables[_VERSION]})

    from orm.migrations.ledger.reading import read_database  # and with it SQLAlchemy

    return State(files, *read_database(target_url(target, application.pyproject)))
