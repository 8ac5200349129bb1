"""``alembic upgrade``: checked before it begins, recorded revision by revision."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends import Backend, Migrations
from orm.backends.sqlite.new_columns import refuse_files_without_values
from orm.bookmark import Bookmark
from orm.migrations.explain import failed, loading
from orm.migrations.files import line
from orm.migrations.files.revisions import Revision
from orm.migrations.ledger import table as ledger
from orm.migrations.running.direction import keep_whole
from orm.migrations.running.garbage import set_aside

__all__ = ["Upgrade"]

_LOG: Final = logging.getLogger(__name__)


class Upgrade:
    """One run of ``alembic upgrade``, on a connection that nobody else migrates beside.

    ``config.attributes["applied"]`` may hold a function; it is called with each `Revision` once
    that is committed (or, in a transaction of the caller's, done).
    """

    def __init__(
        self,
        environment: EnvironmentContext,
        connection: Connection,
        backend: Backend,
        migrations: Migrations,
        files: Sequence[Revision],
    ) -> None:
        self._environment = environment
        self._connection = connection
        self._backend = backend
        self._migrations = migrations
        self._files = files
        self._ours = not connection.in_transaction()  # else the caller's, who commits it
        self._at: str | None = None
        self._committed: Bookmark | None = None
        self._faults: Counter[str] = Counter()

    @set_aside()
    def run(self, options: dict[str, Any]) -> None:
        """Apply what was asked for.

        Args:
            options: for Alembic's context.

        Raises:
            MigrationError: files, ledger and database do not agree, and nothing was touched; or a
                revision failed, and nothing of it stays.
        """
        steps = self._plan()
        # Alembic takes a transaction that is open when it is configured for the caller's, and
        # would never commit it.
        with self._connection.begin() if self._ours else nullcontext():
            self._backend.prepare(self._connection)
            ledger.create(self._connection)
        self._environment.configure(connection=self._connection, **options)
        context = self._environment.get_context()
        keep_whole(context, self._migrations)
        context.impl.start_migrations()  # as `run_migrations` would
        applied = self._environment.config.attributes.get("applied")
        with Operations.context(context):
            for step, file in steps:
                _LOG.info("applying %s", file.name)
                try:
                    self._apply(context, step, file)
                except Exception as error:
                    raise failed(
                        file,
                        error,
                        at=self._at,
                        ours=self._ours,
                        may_split=not self._migrations.all_ddl_is_transactional,
                        more=self._explained(error),
                    ) from error
                self._at = file.id
                if applied is not None:
                    applied(file)

    def _plan(self) -> list[tuple[RevisionStep, Revision]]:
        applied, heads = ledger.read(self._connection), ledger.heads(self._connection)
        if self._ours:
            self._connection.rollback()  # what reading began
        line.refuse(line.findings(self._files, applied, heads))
        self._at = applied[-1].revision if applied else None
        context = self._environment.get_context()
        by_id = {file.id: file for file in self._files}
        with loading(self._files):
            upgrade = context.opts["fn"](tuple(heads), context)
        steps = [(step, by_id[step.revision.revision]) for step in upgrade]
        if steps:
            self._look_before([file for _, file in steps])
        return steps

    def _look_before(self, pending: Sequence[Revision]) -> None:
        """What can be told, and kept, before anything is touched."""
        refuse_files_without_values(self._connection, [file.path for file in pending])
        self._faults = self._migrations.faults(self._connection)
        if self._faults:
            _LOG.warning(
                "%d fault(s) in the database before any revision ran: %s",
                self._faults.total(),
                ", ".join(list(self._faults)[:5]),
            )
        if self._ours:
            self._connection.rollback()  # what reading began
            config = self._environment.config
            say = config.attributes.get("restore_point", config.print_stdout)
            bookkeeping = self._migrations.reserved_tables | {ledger.TABLE.name, "alembic_version"}
            point = self._migrations.restore_point(self._connection, pending[0].id, bookkeeping)
            if point is not None:
                say(f"Restore point: {point}")

    def _explained(self, error: Exception) -> Sequence[str]:
        if not isinstance(error, DBAPIError) or error.connection_invalidated or not self._ours:
            return ()
        return self._migrations.explain(self._connection, error)

    def _apply(self, context: MigrationContext, step: RevisionStep, file: Revision) -> None:
        """Run and record one revision, in a transaction of its own."""
        # Not `run_migrations`, which compiles a new UPDATE of alembic_version for each revision,
        # for a fifth of the whole time. `_per_migration` is what it begins its transactions with;
        # only in one of those Alembic's autocommit_block works.
        with context.begin_transaction(_per_migration=True):
            position = self._committed or self._backend.position(self._connection)
            began = perf_counter()
            step.migration_fn()
            row = ledger.row(
                file,
                seconds=perf_counter() - began,
                bookmark=position.encode() if position else None,
            )
            entries = ledger.entries(row, after=self._at)
            self._migrations.verify(self._connection, self._faults, entries)
        if self._ours:
            self._committed = self._backend.committed(self._connection, wrote=True)
