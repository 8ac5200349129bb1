"""Reading the ledger through the backend, on a connection that cannot write."""

from collections.abc import Mapping

from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import backend_for, migrations_for
from orm.migrations.connecting import on_a_connection
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.applied import Applied

__all__ = ["read_database"]


def read_database(url: URL) -> tuple[list[Applied], set[str], Mapping[str, int]]:
    """The ledger, the rows of ``alembic_version``, and what is half done; nothing is created.

    Raises:
        MigrationError: the database cannot be read.
    """

    backend, migrations = backend_for(url), migrations_for(url)

    def ask(connection: Connection) -> tuple[list[Applied], set[str], Mapping[str, int]]:
        journal = migrations.journal
        half_done = {} if journal is None else journal.half_done(connection)
        return ledger.read(connection), ledger.heads(connection), half_done

    if migrations.is_absent(url):
        return [], set(), {}
    # One snapshot: a run that commits in between would seem to have changed only one of them.
    engine = AsyncEngine(backend.snapshot_engine(backend.reader_engine(url)))
    return on_a_connection(engine, ask, url=url)
