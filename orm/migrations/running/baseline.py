"""``baseline``: revisions are recorded as applied, after the schema was found to be theirs."""

from typing import Final

from sqlalchemy import URL, Connection

from orm.backends import backend_for, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.replay import replay
from orm.migrations.compare.standing import refuse_unless_equal
from orm.migrations.files.line import command_line, refuse
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.repairing import locked
from orm.migrations.ledger.state import State

__all__ = ["baseline"]

_APPLY: Final = command_line("apply")
_ITS_OWN: Final = frozenset({"replaced", "unrecorded", "version"})
"""What disagrees before a baseline, and not after it."""


def baseline(
    application: Application, url: URL, revision: str, reason: str, *, anyway: bool
) -> list[str]:
    """Record revisions as applied that another program has applied; none of them is run.

    Args:
        application: whose revisions.
        url: of the database, which has their schema already.
        revision: the last of these revisions; ``head`` is the last one there is.
        reason: why; it is kept in the ledger.
        anyway: record them even if the schema is not theirs.

    Returns:
        The revisions that were recorded.

    Raises:
        MigrationError: the database has another schema, or is at a later revision; there is no such
            revision; the database is empty; or the files and the ledger do not agree.
    """

    def adopt(connection: Connection, state: State) -> list[str]:
        refuse([finding for finding in state.findings if finding.kind not in _ITS_OWN])
        last = state.file(revision)
        wanted = state.pending(last.id)
        if not wanted and last.id != state.at:
            raise MigrationError(
                f"the database is at {state.at}, and a baseline at {last.id} would take it back"
            )
        if not wanted and set(state.heads) == {state.at}:
            raise MigrationError(f"revision {last.id} is in the ledger already")
        ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
        there = migrations.definitions(connection)
        if not {thing.table for thing in there if thing.kind == "table"} - ours:
            raise MigrationError(
                f"the database has no tables to adopt: apply the revisions, with {_APPLY}"
            )
        if not anyway:
            with replay(application, last.id, url=url, beside=True) as made:
                definitions = migrations.definitions(made.connection)
            refuse_unless_equal(definitions, connection, last)
        connection.rollback()
        note = ledger.note("baseline", reason)
        with connection.begin():
            backend.prepare(connection)
            ledger.create(connection)
            for file in wanted:
                connection.execute(ledger.TABLE.insert(), ledger.row(file, note=note))
            ledger.set_version(connection, last.id)
        return [file.id for file in wanted]

    backend, migrations = backend_for(url), migrations_for(url)
    if migrations.is_absent(url):
        raise MigrationError(f"there is no database to adopt: apply the revisions, with {_APPLY}")
    return locked(application, url, adopt)
