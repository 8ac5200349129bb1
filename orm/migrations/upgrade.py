"""``alembic upgrade``: checked before it begins, recorded revision by revision."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from time import perf_counter
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Connection

from orm.backends import Backend
from orm.exceptions import MigrationError
from orm.migrations import ledger, line
from orm.migrations.direction import keep_whole
from orm.migrations.explain import failed, loading
from orm.migrations.revisions import Revision
from orm.migrations.steps import BEFORE_FIRST, Plan

__all__ = ["Upgrade"]


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
        files: Sequence[Revision],
    ) -> None:
        self._environment = environment
        self._connection = connection
        self._backend = backend
        self._ours = not connection.in_transaction()  # else the caller's, who commits it
        self._line = files
        self._files = {file.id: file for file in files}
        self._at: str | None = None
        self._current: Revision | None = None
        self._bookmark: str | None = None
        self._began = 0.0

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
        self._environment.configure(
            connection=self._connection,
            fn=partial(self._steps, steps),
            on_version_apply=self._record,
            **options,
        )
        keep_whole(self._environment.get_context(), self._backend)
        try:
            with self._environment.begin_transaction():
                self._environment.run_migrations()
        except Exception as error:
            if self._current is None:
                raise
            raise self._failed(error) from error
        if self._ours:
            self._connection.commit()  # Alembic's version table, made outside of any revision

    def _failed(self, error: Exception) -> MigrationError:
        assert self._current is not None
        split = not self._backend.all_ddl_is_transactional
        return failed(self._current, error, at=self._at, ours=self._ours, may_split=split)

    def _plan(self) -> list[RevisionStep]:
        applied, heads = ledger.read(self._connection), ledger.heads(self._connection)
        if self._ours:
            self._connection.rollback()  # what reading began
        line.refuse(line.findings(self._line, applied, heads))
        self._at = applied[-1].revision if applied else None
        context = self._environment.get_context()
        with loading(self._line):
            steps: list[RevisionStep] = list(context.opts["fn"](tuple(heads), context))
        plan = Plan(self._connection, self._backend, [self._file(step) for step in steps])
        if steps:
            for check in BEFORE_FIRST:
                check(plan)
        return steps

    def _file(self, step: RevisionStep) -> Revision:
        return self._files[step.revision.revision]

    def _steps(
        self, steps: Iterable[RevisionStep], _heads: object, _context: MigrationContext
    ) -> Iterator[RevisionStep]:
        """What Alembic runs; it comes back for the next one when the last one is committed."""
        applied = self._environment.config.attributes.get("applied")
        for step in steps:
            self._current = self._file(step)
            step.migration_fn = self._timed(step.migration_fn)
            yield step
            self._at = self._current.id
            if applied is not None:
                applied(self._current)
        self._current = None

    def _timed(self, upgrade: Callable[..., None]) -> Callable[..., None]:
        """A revision's function, which is called in its transaction."""

        @wraps(upgrade)  # Alembic prints its name
        def timed(**arguments: Any) -> None:
            position = self._backend.position(self._connection)
            self._bookmark = position.encode() if position else None
            self._began = perf_counter()
            upgrade(**arguments)

        return timed

    def _record(self, *_: Any, **__: Any) -> None:
        """What Alembic calls at the end of each revision's own transaction."""
        assert self._current is not None
        self._backend.verify(self._connection)
        row = ledger.row(
            self._current, seconds=perf_counter() - self._began, bookmark=self._bookmark
        )
        self._connection.execute(ledger.TABLE.insert(), row)
