"""``repair``: the ledger written by hand, with a reason that is kept."""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import URL, Connection

from orm.backends import migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.connecting import PATIENCE, on_a_connection
from orm.migrations.files.line import command_line
from orm.migrations.files.revisions import read
from orm.migrations.ledger import agreement
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.applied import Applied
from orm.migrations.ledger.state import State
from orm.migrations.revision import Revision

__all__ = ["locked", "repair"]

_APPLY: Final = command_line("apply")


def repair(application: Application, url: URL, revisions: Sequence[str], reason: str) -> list[str]:
    """Accept applied files as they are now, and make ``alembic_version`` what the ledger says.

    Args:
        application: whose revisions.
        url: of the database.
        revisions: the ids of files whose text or name has changed, and is accepted.
        reason: why; it is kept in the ledger, with the old name and checksum.

    Returns:
        The revisions that were repaired; the last one of the ledger if only ``alembic_version``
        was.

    Raises:
        MigrationError: there is nothing to repair; or a revision is not applied, or has no file.
    """

    def accept(connection: Connection, state: State) -> list[str]:
        files = agreement.file_of_each(state.files, state.applied)  # two may have its number
        applied = {row.revision: row for row in state.applied}
        for revision in revisions:
            if revision not in applied:
                raise MigrationError(
                    f"revision {revision} is not applied: there is nothing to repair"
                )
            if revision not in files:
                raise MigrationError(
                    f"there is no file of revision {revision} to accept: get it back from version "
                    "control"
                )
        changed = [r for r in revisions if _differs(files[r], applied[r])]
        stray = state.at is not None and set(state.heads) != {state.at}
        if not changed and not stray:
            raise MigrationError(
                "nothing to repair: the files and alembic_version are what the ledger says"
            )
        connection.rollback()
        with connection.begin():
            for revision in changed:
                _accept(connection, files[revision], applied[revision], reason)
            if stray:
                assert state.at is not None
                ledger.set_version(connection, state.at)
                if not changed:
                    _add_note(
                        connection, applied[state.at], ledger.note("alembic_version set", reason)
                    )
        return changed or [str(state.at)]

    if migrations_for(url).is_absent(url):
        raise MigrationError(f"there is no database to repair: apply the revisions, with {_APPLY}")
    return locked(application, url, accept)


def locked(
    application: Application, url: URL, work: Callable[[Connection, State], list[str]]
) -> list[str]:
    """Do some work on a database that no other process migrates meanwhile.

    Args:
        application: whose revisions.
        url: of the database.
        work: called with a connection, in a transaction that has only read, and the state.

    Raises:
        MigrationError: a file cannot be a revision; or the database cannot be read, or the work
            fails.
    """
    migrations, files = migrations_for(url), read(application.versions)

    def alone(connection: Connection) -> list[str]:
        with migrations.migrating(connection, PATIENCE):
            applied, heads = ledger.read(connection), ledger.heads(connection)
            return work(connection, State.of(application, files, applied, heads))

    return on_a_connection(migrations.engine(url), alone, url=url)


def _differs(file: Revision, row: Applied) -> bool:
    return (file.name, file.checksum) != (row.name, row.checksum)


def _accept(connection: Connection, file: Revision, row: Applied, reason: str) -> None:
    note = ledger.note(f"repaired, was {row.name} {row.checksum}", reason)
    connection.execute(
        ledger.TABLE.update()
        .where(ledger.TABLE.c.revision == row.revision)
        .values(name=file.name, checksum=file.checksum)
    )
    _add_note(connection, row, note)


def _add_note(connection: Connection, row: Applied, note: str) -> None:
    connection.execute(
        ledger.TABLE.update()
        .where(ledger.TABLE.c.revision == row.revision)
        .values(note=f"{row.note}\n{note}" if row.note else note)
    )
