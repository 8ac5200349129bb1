"""``alembic upgrade``: checked before it begins, recorded revision by revision."""

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from time import perf_counter
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends import Backend, Migrations, Thing
from orm.bookmark import Bookmark
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.standing import made_alone, refuse_unless_equal
from orm.migrations.context import RunContext
from orm.migrations.explain import ALONE, Stays, failed, loading
from orm.migrations.files import scripts
from orm.migrations.files.line import command_line, refuse
from orm.migrations.internals import keep_whole
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.state import State
from orm.migrations.revision import Revision
from orm.migrations.running.ahead import refuse_to_stop_half_way
from orm.migrations.running.new_columns import refuse_revisions_without_values
from orm.migrations.transaction import one_transaction

__all__ = ["Upgrade"]

_LOG: Final = logging.getLogger(__name__)
_STANDS: Final = "the schema was the same"


@contextmanager
def _garbage_set_aside() -> Iterator[None]:
    """Within the block, the garbage collector looks only at objects that are made in it.

    Revisions make many objects that live for a while. For each thousand of them the collector would
    look at all objects of the process: a seventh of the time of a thousand revisions. Garbage from
    before waits for the end of the block.
    """
    if gc.get_freeze_count():
        yield  # the application has set its objects aside for good, before it forks, for example
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Upgrade:
    """One run of ``alembic upgrade``, on a connection that has the database's lock for it."""

    def __init__(
        self,
        environment: EnvironmentContext,
        connection: Connection,
        backend: Backend,
        migrations: Migrations,
        application: Application,
        files: Sequence[Revision],
    ) -> None:
        self._environment = environment
        self._connection = connection
        self._backend = backend
        self._migrations = migrations
        self._application = application
        self._files = files
        self._wanted: dict[str, Mapping[Thing, str]] = {}
        self._ours = not connection.in_transaction()  # else the caller commits it
        self._at: str | None = None
        self._committed: Bookmark | None = None
        self._faults: Counter[str] = Counter()

    @_garbage_set_aside()
    def run(self, options: dict[str, Any], asked: RunContext) -> None:
        """Apply the revisions that the command asks for.

        Args:
            options: for Alembic's context.
            asked: what to call with each revision, and with the restore point.

        Raises:
            MigrationError: files, ledger and database do not agree, and nothing was changed; or a
                revision failed, and nothing of it stays.
        """
        steps = self._plan(options, asked)
        # Alembic takes a transaction that is open when it is configured for the caller's, and
        # would never commit it.
        with self._connection.begin() if self._ours else nullcontext():
            self._backend.prepare(self._connection)
            ledger.create(self._connection)
        # Each revision begins a transaction of its own below, and not Alembic for all of them.
        options = options | {"transaction_per_migration": False}
        self._environment.configure(connection=self._connection, **options)
        context = self._environment.get_context()
        keep_whole(context, self._migrations)
        context.impl.start_migrations()  # as `run_migrations` would
        with Operations.context(context):
            for step, file in steps:
                _LOG.info("applying %s", file.name)
                if file.only_recorded:
                    self._compare(file)
                try:
                    self._apply(context, step, file)
                except Exception as error:
                    raise failed(
                        file,
                        error,
                        at=self._at,
                        ours=self._ours,
                        may_split=not self._migrations.all_ddl_is_transactional,
                        journal=self._stays(file),
                        more=self._explained(error),
                    ) from error
                self._at = file.id
                if asked.applied is not None:
                    asked.applied(file)

    def _plan(
        self, options: Mapping[str, Any], asked: RunContext
    ) -> list[tuple[RevisionStep, Revision]]:
        applied, heads = ledger.read(self._connection), ledger.heads(self._connection)
        state = State.of(self._application, self._files, applied, heads)
        self._done_reading()
        refuse(state.findings)
        self._at = state.at
        scripts.use(state.files, self._environment.script)
        context = self._environment.get_context()
        by_id = {file.id: file for file in state.files}
        with loading(file.path for file in state.files):
            upgrade = context.opts["fn"](tuple(state.heads), context)
        steps = [(step, by_id[step.revision.revision]) for step in upgrade]
        if steps:
            self._look_before([file for _, file in steps], options, asked)
        return steps

    def _done_reading(self) -> None:
        if self._ours:
            self._connection.rollback()  # reading has begun a transaction

    def _look_before(
        self, pending: Sequence[Revision], options: Mapping[str, Any], asked: RunContext
    ) -> None:
        """Refuse what is certain to fail, and keep a way back, before anything is changed."""
        first, *_ = pending
        if first.replaces and not first.only_recorded:
            self._refuse_tables(first)
        for file in pending:
            if file.only_recorded:
                url = self._connection.engine.url
                self._wanted[file.id] = made_alone(file, url, options)
        if first.only_recorded:
            self._compare(first)  # before a restore point is made
        refuse_revisions_without_values(self._connection, pending)
        refuse_to_stop_half_way(self._connection, pending, self._migrations)
        self._faults = self._migrations.faults(self._connection)
        if self._faults:
            _LOG.warning(
                "%d fault(s) in the database before any revision ran: %s",
                self._faults.total(),
                ", ".join(list(self._faults)[:5]),
            )
        self._done_reading()
        if self._ours:
            say = asked.restore_point or self._environment.config.print_stdout
            point = self._migrations.restore_point(self._connection, first.id, self._bookkeeping)
            if point is not None:
                say(f"Restore point: {point}")

    def _refuse_tables(self, checkpoint: Revision) -> None:
        """Refuse to run a checkpoint where what it makes may be there."""
        there = self._migrations.definitions(self._connection)
        if tables := {one.table for one in there if one.kind == "table"} - self._bookkeeping:
            raise MigrationError(
                f"the database has tables ({', '.join(sorted(tables)[:5])}), and no revision is "
                f"recorded in it: if it has the schema of {checkpoint.name} already, record that, "
                f"with {command_line(f'baseline {checkpoint.id}')}"
            )

    def _compare(self, checkpoint: Revision) -> None:
        """See that the database has the schema of a checkpoint that is only recorded."""
        refuse_unless_equal(self._wanted[checkpoint.id], self._connection, checkpoint)
        self._done_reading()

    @property
    def _bookkeeping(self) -> frozenset[str]:
        return self._migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}

    def _stays(self, file: Revision) -> Stays | None:
        """What a journal says of a revision that has failed."""
        journal = self._migrations.journal
        if journal is None:
            return None
        if not self._connection.invalidated:
            with suppress(DBAPIError):  # the connection is gone
                done = journal.half_done(self._connection)
                self._done_reading()
                return Stays(done.get(file.id, 0))
        return Stays(None)

    def _explained(self, error: Exception) -> Sequence[str]:
        if not isinstance(error, DBAPIError) or error.connection_invalidated or not self._ours:
            return ()
        if self._migrations.runs_alone(error):
            return (ALONE,)
        return self._migrations.explain(self._connection, error)

    def _resuming(self, file: Revision) -> AbstractContextManager[None]:
        journal = self._migrations.journal
        if journal is None:
            return nullcontext()
        return journal.resuming(self._connection, file.id, file.checksum)

    def _apply(self, context: MigrationContext, step: RevisionStep, file: Revision) -> None:
        """Run and record one revision, in a transaction of its own."""
        # Not `run_migrations`, which compiles a new UPDATE of alembic_version for each revision,
        # for a fifth of the whole time. Alembic's autocommit_block needs Alembic's transaction.
        with context.begin_transaction():
            position = self._committed or self._backend.position(self._connection)
            began = perf_counter()
            with (
                one_transaction(context, self._connection, self._migrations),
                self._resuming(file),
            ):
                step.migration_fn()
            row = ledger.row(
                file,
                seconds=perf_counter() - began,
                bookmark=position.encode() if position else None,
                note=ledger.note("checkpoint", _STANDS) if file.only_recorded else None,
            )
            if file.only_recorded:
                self._connection.execute(ledger.VERSION.delete())  # it may name several heads
            entries = ledger.entries(row, after=None if file.only_recorded else self._at)
            self._migrations.verify(self._connection, self._faults, entries)
        if self._ours:
            self._committed = self._backend.committed(self._connection, wrote=True)
