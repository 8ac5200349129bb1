"""How a database and the revision files stand to each other; looking changes nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import URL, Connection

from orm.backends import backend_for
from orm.exceptions import MigrationError
from orm.migrations import ledger, line
from orm.migrations.application import Application
from orm.migrations.connecting import on_a_connection
from orm.migrations.ledger import Applied
from orm.migrations.line import Finding
from orm.migrations.revisions import Revision, read

__all__ = ["State", "look"]


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


def look(application: Application, url: URL) -> State:
    """Read the files, and the database through a connection that cannot write.

    Raises:
        MigrationError: a file cannot be a revision.
        DBAPIError, OSError: the database cannot be read.
    """
    files = read(application.versions)
    backend = backend_for(url)
    if backend.is_absent(url):
        return State(files, (), ())

    def ask(connection: Connection) -> State:
        return State(files, ledger.read(connection), ledger.heads(connection))

    return on_a_connection(backend.reader_engine(url), ask)
