"""``baseline`` and ``repair``: the ledger written by hand, with a reason that is kept."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import URL, Connection, inspect

from orm.backends import backend_for, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.connecting import PATIENCE, on_a_connection
from orm.migrations.files.line import refuse
from orm.migrations.files.revisions import read
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.applied import Applied
from orm.migrations.ledger.state import State
from orm.migrations.revision import Revision

__all__ = ["baseline", "repair"]


def baseline(application: Application, url: URL, revision: str, reason: str) -> list[str]:
    """Record revisions as applied that another program has applied; none of them is run.

    Args:
        application: whose revisions.
        url: of the database, which has their schema already.
        revision: the last of these revisions.
        reason: why; it is kept in the ledger.

    Returns:
        The revisions that were recorded.

    Raises:
        MigrationError: the database is at a later revision, there is no such revision, the database
            is empty, or the files and the ledger do not agree.
    """

    def adopt(connection: Connection, state: State) -> list[str]:
        _refuse(state, but={"unrecorded", "version"})
        wanted = state.pending(revision)
        if not wanted and revision != state.at:
            raise MigrationError(
                f"the database is at {state.at}, and a baseline at {revision} would take it back"
            )
        if not wanted and set(state.heads) == {state.at}:
            raise MigrationError(f"revision {revision} is in the ledger already")
        ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
        if not set(inspect(connection).get_table_names()) - ours:
            raise MigrationError(
                "the database has no tables to adopt: apply the revisions to it, with orm "
                "migrations apply"
            )
        connection.rollback()
        note = _note("baseline", reason)
        with connection.begin():
            backend.prepare(connection)
            ledger.create(connection)
            for file in wanted:
                connection.execute(ledger.TABLE.insert(), ledger.row(file, note=note))
            ledger.set_version(connection, revision)
        return [file.id for file in wanted]

    backend, migrations = backend_for(url), migrations_for(url)
    if migrations.is_absent(url):
        raise MigrationError(
            "there is no database to adopt: apply the revisions instead, with orm migrations apply"
        )
    return _locked(application, url, adopt)


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
        files = {file.id: file for file in state.files}
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
                    _add_note(connection, applied[state.at], _note("alembic_version set", reason))
        return changed or [str(state.at)]

    if migrations_for(url).is_absent(url):
        raise MigrationError(
            "there is no database to repair: apply the revisions instead, with orm migrations apply"
        )
    return _locked(application, url, accept)


def _locked(
    application: Application, url: URL, work: Callable[[Connection, State], list[str]]
) -> list[str]:
    migrations, files = migrations_for(url), read(application.versions)

    def locked(connection: Connection) -> list[str]:
        with migrations.migrating(connection, PATIENCE):
            state = State(files, ledger.read(connection), ledger.heads(connection))
            return work(connection, state)

    return on_a_connection(migrations.engine(url), locked, url=url)


def _refuse(state: State, but: set[str]) -> None:
    refuse([finding for finding in state.findings if finding.kind not in but])


def _differs(file: Revision, row: Applied) -> bool:
    return (file.name, file.checksum) != (row.name, row.checksum)


def _accept(connection: Connection, file: Revision, row: Applied, reason: str) -> None:
    note = _note(f"repaired, was {row.name} {row.checksum}", reason)
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


def _note(what: str, reason: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {what}: {reason}"
