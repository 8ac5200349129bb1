"""``--sql``: a script instead of a database."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
from sqlalchemy import URL, func
from sqlalchemy.schema import CreateTable

from orm.backends import migrations_for
from orm.exceptions import MigrationError
from orm.migrations.explain import cause_of, loading, where
from orm.migrations.files.revisions import Revision
from orm.migrations.ledger import table as ledger
from orm.migrations.running.direction import keep_whole

__all__ = ["run"]


def run(
    environment: EnvironmentContext,
    url: URL,
    options: dict[str, Any],
    files: Sequence[Revision] | None,
) -> None:
    """Print the SQL of an Alembic command, all of it or nothing.

    Args:
        environment: of the command.
        url: of the database that the script is for.
        options: for Alembic's context.
        files: for ``upgrade``, the revisions; its script writes the ledger as well.

    Raises:
        MigrationError: a revision needs a database.
    """
    script = io.StringIO()
    if files is not None:
        writer = _Writer(files, environment.get_context().opts["fn"])
        options = options | {"fn": writer.steps, "on_version_apply": writer.record}
    environment.configure(
        url=url,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        output_buffer=script,
        **options,
    )
    keep_whole(environment.get_context(), migrations_for(url))
    with environment.begin_transaction():
        environment.run_migrations()
    (environment.config.output_buffer or sys.stdout).write(script.getvalue())


class _Writer:
    """The revisions of a script, and what it writes into the ledger."""

    def __init__(self, files: Sequence[Revision], fn: Callable[..., list[RevisionStep]]) -> None:
        self._files = {file.id: file for file in files}
        self._fn = fn
        self._has_ledger = False

    def steps(self, heads: object, context: MigrationContext) -> Iterator[RevisionStep]:
        """What Alembic runs."""
        with loading(self._files.values()):
            steps = self._fn(heads, context)
        for step in steps:
            file = self._files[step.revision.revision]
            step.migration_fn = _without_a_database(file, step.migration_fn)
            yield step

    def record(self, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """What Alembic calls at the end of each revision's own transaction."""
        if not self._has_ledger:
            ctx.execute(CreateTable(ledger.TABLE, if_not_exists=True))
            self._has_ledger = True
        (revision,) = step.up_revision_ids
        # When the script runs, and not when it was written.
        row = ledger.row(self._files[revision]) | {"applied_at": func.current_timestamp()}
        ctx.execute(ledger.TABLE.insert().values(row))


def _without_a_database(file: Revision, upgrade: Callable[..., None]) -> Callable[..., None]:
    @wraps(upgrade)  # Alembic prints its name
    def explained(**arguments: Any) -> None:
        try:
            upgrade(**arguments)
        except Exception as error:  # whatever it does with the answers that it does not get
            raise MigrationError(
                f"{file.name}.py cannot be written as a script{where(file.path, error)}: "
                f"{cause_of(error)}. A script cannot ask the database: apply up to {file.id} "
                f"online, and begin the script there (alembic upgrade {file.id}:head --sql)"
            ) from error

    return explained
