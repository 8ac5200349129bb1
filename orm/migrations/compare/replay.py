"""The revisions, replayed in an empty database: what the models are compared to.

The scratch database is one of the local target's engine: for SQLite in memory, so that a new
revision needs no server; for an engine that has servers, beside the local database, which need not
be up to date.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from alembic import command, context
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.operations import MigrateOperation
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import URL, Column, Connection, MetaData

from orm.backends import NotAScript, migrations_for
from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.compare.configuration import options_of
from orm.migrations.compare.effects import Schema, schema_of
from orm.migrations.context import RunContext, alembic_alone
from orm.migrations.explain import cause_of, where
from orm.migrations.files.revisions import read
from orm.migrations.internals import Recorded, compare_defaults, keep_whole, recording
from orm.migrations.target import target_url

__all__ = ["Replay", "Step", "replay"]

_LEFT_OUT: Final = (
    "autogenerate skipping metadata-specified expression-based index",
    "Computed default on .* cannot be modified",
    "Skipped unsupported reflection of expression-based index",
)

_ONE_ENGINE: Final = (
    '. Put what is for one engine only under if op.get_context().dialect.name == "…"; if '
    "everything is for one engine, let [tool.orm] local in pyproject.toml name a database of that "
    "engine"
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one revision did.

    Attributes:
        revision: its id.
        records: its operations, in their order.
        after: the tables that it left.
    """

    revision: str
    records: tuple[Recorded, ...]
    after: Schema


@dataclass
class Replay:
    """A scratch database, in which the application's own ``env.py`` has replayed revisions.

    Attributes:
        application: whose revisions and models.
        connection: to the scratch database.
        metadata: the models.
        options: what ``env.py`` configures Alembic with.
        watched: whether `steps` are recorded; it takes longer.
        steps: what each revision did that was replayed while watched.
        defaults_differ: whether the default of a column of the models differs; None to have
            Alembic ask the engine, which fails where a type has no ``=``.
    """

    application: Application
    connection: Connection
    metadata: MetaData = field(default_factory=MetaData)
    options: dict[str, Any] = field(default_factory=dict)
    watched: bool = False
    steps: list[Step] = field(default_factory=list)
    defaults_differ: Callable[[Column[Any]], bool] | None = None

    def upgrade(self, revision: str | None) -> None:
        """Replay the revisions up to one; None for none of them.

        Raises:
            MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
                models cannot be loaded.
        """
        config = self._config()
        with self._explained():
            if revision is None:
                command.current(config)  # for the environment alone
            else:
                command.upgrade(config, revision)

    def write_revision(
        self, message: str, slug: str, complete: Callable[..., None], *, autogenerate: bool
    ) -> Script | None:
        """Have Alembic write the file of the next revision, which follows those that were replayed.

        Args:
            message: the first line of its docstring.
            slug: what its file's name says after the number.
            complete: Alembic's ``process_revision_directives``.
            autogenerate: whether it does what the models have and the revisions do not make.

        Returns:
            The revision; None if nothing has changed.

        Raises:
            MigrationError: Alembic refuses.
        """
        config = self._config()
        config.set_main_option("file_template", f"%%(rev)s_{slug}")
        with self._explained(), _quiet():
            written = command.revision(
                config, message, autogenerate=autogenerate, process_revision_directives=complete
            )
        return written if isinstance(written, Script) else None

    def compare(self) -> Sequence[MigrateOperation]:
        """The operations that would make the scratch database what the models say."""
        migration = MigrationContext.configure(self.connection, opts=self.options)
        compare_defaults(migration, self.defaults_differ)
        with _quiet():
            found = produce_migrations(migration, self.metadata).upgrade_ops
        assert found is not None
        return found.ops

    def _config(self) -> Config:
        return RunContext(instead=self._run).config(self.application)

    def _run(self, metadata: MetaData) -> None:
        """Run the Alembic command that called ``env.py`` on the scratch database."""
        migrations = migrations_for(self.connection.engine.url)
        migrations.prepare_alembic()
        self.metadata = metadata
        self.options = options_of(metadata, migrations.reserved_tables)
        records: list[Recorded] = []

        def applied(
            ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object
        ) -> None:
            if self.watched:
                after = schema_of(self.connection)
                self.steps.append(Step(str(step.up_revision_id), tuple(records), after))
            records.clear()

        # Reading has begun a transaction, which Alembic would take for the caller's.
        self.connection.commit()
        context.configure(connection=self.connection, on_version_apply=applied, **self.options)
        migration = context.get_context()
        keep_whole(migration, migrations)
        compare_defaults(migration, self.defaults_differ)
        with context.begin_transaction(), recording(migration, records):
            migration.run_migrations()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors in a revision as one that names its file and line."""
        try:
            with alembic_alone(self.application):
                yield
        except NotAScript:
            raise
        except Exception as error:
            for file in read(self.application.versions):
                if (line := where(file.path, error)) and file.name not in str(error):
                    # What this library refuses, and a revision itself, is refused on each engine.
                    ours = isinstance(error, OrmError) or type(error) is RuntimeError
                    raise MigrationError(
                        f"{file.path} cannot be replayed in an empty "
                        f"{self.connection.dialect.name} database{line}: {cause_of(error)}"
                        f"{'' if ours else _ONE_ENGINE}"
                    ) from error
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Alembic says of things that it leaves to others, which find them themselves."""
    with warnings.catch_warnings():
        for message in _LEFT_OUT:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def replay(
    application: Application, revision: str | None = "head", *, url: URL | None = None
) -> Iterator[Replay]:
    """A scratch database, upgraded to a revision.

    Args:
        application: whose revisions and models.
        revision: the last one to replay; None for none of them.
        url: of a database whose engine the scratch database has, the local one if None; that
            database is not changed.

    Raises:
        ConfigurationError: the engine cannot have a scratch database here; says what is missing.
        MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
            models cannot be loaded.
    """
    if url is None:
        url = target_url("local", application.pyproject)
    with migrations_for(url).scratch(url) as connection:
        made = Replay(application, connection)
        made.upgrade(revision)
        yield made
