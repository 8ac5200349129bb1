"""Revisions as SQL: the one place that renders it, for a script, for people and for a linter."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from alembic import command, context
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
from sqlalchemy import URL, MetaData, func
from sqlalchemy.exc import NoInspectionAvailable, NoSuchModuleError
from sqlalchemy.schema import CreateTable

from orm.backends import NotAScript, Script, migrations_for
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.configuration import by_its_own_names, options_of
from orm.migrations.compare.replay import replay
from orm.migrations.context import RunContext, alembic_alone
from orm.migrations.explain import cause_of, loading, where
from orm.migrations.files.scripts import module_of
from orm.migrations.internals import (
    AsksTheDatabase,
    keep_whole,
    reads_a_table,
    without_answers,
)
from orm.migrations.ledger import table as ledger
from orm.migrations.revision import Revision

__all__ = ["print_script", "script_of", "scripts_of", "statements_of"]

# Statements --------------------------------------------------------------------------------


def statements_of(application: Application, files: Sequence[Revision], dialect: str) -> list[str]:
    """What each of some revisions executes; without what Alembic and the ledger record.

    Args:
        application: whose revisions.
        files: the revisions, which follow each other.
        dialect: SQLAlchemy's name of the engine, such as ``"postgresql"``.

    Returns:
        The SQL of each revision.

    Raises:
        ConfigurationError: there is no such dialect.
        MigrationError: a revision fails, its SQL depends on rows, or the models cannot be loaded.
    """
    url = URL.create(dialect)
    try:
        replays = migrations_for(url).script is not None
    except ConfigurationError:  # Alembic knows engines that this library does not migrate
        replays = False
    if replays:
        return [script.text for script in scripts_of(application, files, url)]
    return _rendered(application, files, dialect)


def scripts_of(application: Application, files: Sequence[Revision], url: URL) -> list[Script]:
    """What each of some revisions executes, on an engine whose backend takes down a replay.

    Args:
        application: whose revisions.
        files: the revisions, which follow each other; not none.
        url: of the engine.

    Raises:
        MigrationError: a revision fails, cannot be written as a script, or the models cannot be
            loaded.
    """
    found: list[Script] = []
    script = migrations_for(url).script
    assert script is not None
    with replay(application, files[0].down, url=url) as made:
        for file in files:
            try:
                with script(made.connection, frozenset({ledger.VERSION.name})) as written:
                    made.upgrade(file.id)
                found.append(written())
            except NotAScript as error:
                line = where(file.path, error)
                raise MigrationError(
                    f"{file.name}.py cannot be written as a script{line}: {error}"
                ) from error
    return found


def _rendered(application: Application, files: Sequence[Revision], dialect: str) -> list[str]:
    found: list[str] = []
    with suppress(ConfigurationError):  # SQLAlchemy knows more engines than have a backend
        migrations_for(URL.create(dialect)).prepare_alembic()

    def render(metadata: MetaData) -> None:
        out = io.StringIO()
        options = by_its_own_names(options_of(metadata, frozenset()))
        try:
            _configure(context.configure, options, out, dialect_name=dialect)
        except NoSuchModuleError as error:
            raise ConfigurationError(
                f"SQLAlchemy has no dialect {dialect!r}: sqlite, postgresql, mysql, mariadb, …"
            ) from error
        without_answers(context.get_context())
        with Operations.context(context.get_context()):
            for file in files:
                with loading([file.path]):
                    upgrade = module_of(file).upgrade
                with _without_a_database(file):
                    upgrade()
                found.append(out.getvalue())
                out.seek(0)
                out.truncate()

    with alembic_alone(application):
        command.upgrade(RunContext(instead=render).config(application), files[-1].id, sql=True)
    return found


# Scripts -----------------------------------------------------------------------------------


def script_of(
    application: Application, url: URL, at: str | None, pending: Sequence[Revision]
) -> str:
    """The script that applies pending revisions, as far as it is known before they run.

    Args:
        application: whose revisions.
        url: of the database that the script is for; nothing connects to it.
        at: the revision that the database is at.
        pending: in their order.

    Returns:
        SQL. If a revision has to ask the database while it runs, a comment that says so.

    Raises:
        MigrationError: a revision cannot be loaded, or the models cannot be.
    """
    if not pending:
        return ""
    config = RunContext(url=url).config(application)
    try:
        with alembic_alone(application):
            command.upgrade(config, f"{at or 'base'}:{pending[-1].id}", sql=True)
    except MigrationError as error:
        names = "".join(f"-- {file.name}\n" for file in pending)
        reason = " ".join(str(error).split())
        return f"{names}-- There is no script of it: {reason}\n"
    assert isinstance(config.output_buffer, io.StringIO)
    return config.output_buffer.getvalue()


def print_script(
    environment: EnvironmentContext,
    url: URL,
    options: dict[str, Any],
    files: Sequence[Revision] | None,
) -> None:
    """Print the script of an Alembic command, all of it or nothing (``--sql``).

    Args:
        environment: of the command.
        url: of the database that the script is for.
        options: for Alembic's context.
        files: for ``upgrade``, the revisions; its script writes the ledger as well.

    Raises:
        MigrationError: a revision needs a database.
    """
    out = io.StringIO()
    if files is not None:
        replays = migrations_for(url).script is not None
        writer = _Writer(files, environment.get_context().opts["fn"], replays=replays)
        options = options | {"fn": writer.steps, "on_version_apply": writer.record}
    _configure(environment.configure, options, out, url=url)
    keep_whole(environment.get_context(), migrations_for(url))
    without_answers(environment.get_context())
    with environment.begin_transaction():
        environment.run_migrations()
    (environment.config.output_buffer or sys.stdout).write(out.getvalue())


class _Writer:
    """The revisions of a script, and what it writes into the ledger."""

    def __init__(
        self, files: Sequence[Revision], fn: Callable[..., list[RevisionStep]], *, replays: bool
    ) -> None:
        self._files = {file.id: file for file in files}
        self._fn = fn
        self._replays = replays
        self._has_ledger = False

    def steps(self, heads: object, context: MigrationContext) -> Iterator[RevisionStep]:
        """The steps that Alembic runs."""
        with loading(file.path for file in self._files.values()):
            steps = self._fn(heads, context)
        for step in steps:
            file = self._files[step.revision.revision]
            last = step is steps[-1]
            explained = _without_a_database(
                file,
                "It runs only online"
                if last
                else f"Apply up to {file.id} online, and begin the script there: alembic upgrade "
                f"{file.id}:head --sql",
                shown=self._replays,
            )
            step.migration_fn = explained(step.migration_fn)
            yield step

    def record(self, ctx: MigrationContext, step: MigrationInfo, **_: Any) -> None:
        """Alembic calls this at the end of each revision's own transaction."""
        if not self._has_ledger:
            ctx.execute(CreateTable(ledger.TABLE, if_not_exists=True))
            self._has_ledger = True
        (revision,) = step.up_revision_ids
        # When the script runs, and not when it was written.
        row = ledger.row(self._files[revision]) | {"applied_at": func.current_timestamp()}
        ctx.execute(ledger.TABLE.insert().values(row))


# Both --------------------------------------------------------------------------------------


def _configure(
    configure: Callable[..., None], options: dict[str, Any], out: io.StringIO, **engine: Any
) -> None:
    """Have Alembic write what it executes.

    Args:
        configure: of Alembic's environment.
        options: for its context.
        out: where it is written.
        engine: ``url`` or ``dialect_name``.
    """
    configure(
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        output_buffer=out,
        **engine,
        **options,
    )


@contextmanager
def _without_a_database(
    file: Revision, advice: str = "It runs only online", *, shown: bool = False
) -> Iterator[None]:
    """Errors of a revision that asks a database, which no script has, as one that says so.

    Args:
        file: the revision.
        advice: what to do, if that is its error.
        shown: whether a replay shows the SQL of a batch that no script can have.
    """
    try:
        yield
    except Exception as error:  # whatever the revision does with the answers that it does not get
        asks = _asked(error)
        if shown and reads_a_table(error):
            advice = f"To see its SQL: orm migrations show {file.id}. {advice}"
        raise MigrationError(
            f"{file.name}.py cannot be written as a script{where(file.path, error)}: "
            + (f"{asks}. {advice}" if asks else cause_of(error))
        ) from error


def _asked(error: Exception) -> str | None:
    """What a revision wants of the database; None if its error is about something else."""
    if reads_a_table(error):
        return "a batch reads the table that it writes anew, and a script cannot"
    match error:
        case AsksTheDatabase():
            return f"it asks the database ({error}), and a script cannot"
        case NoInspectionAvailable():
            return "it asks the database for its schema (sqlalchemy.inspect), and a script cannot"
        case _:
            return None
