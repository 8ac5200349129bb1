"""The revisions, replayed in an empty database: what the models are compared to.

The scratch database is one of the local target's engine: for SQLite in memory, for PostgreSQL on a
server of this process's own where that can be had, so that a new revision needs no server; else
beside the local database, which need not be up to date.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

from alembic import command, context
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script
from sqlalchemy import URL, Column, Connection, MetaData
from sqlalchemy.exc import CompileError, DBAPIError, SQLAlchemyError

from orm.backends import Migrations, NotAScript, migrations_for
from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.compare.configuration import by_its_own_names, options_of
from orm.migrations.compare.rendering import ddl_text
from orm.migrations.connecting import PATIENCE
from orm.migrations.context import RunContext, alembic_alone
from orm.migrations.explain import ALONE, cause_in_scratch, cause_of, loading, where
from orm.migrations.files import scripts
from orm.migrations.files.checkpoints import before_a_checkpoint
from orm.migrations.files.revisions import read
from orm.migrations.internals import (
    command_name,
    compare_defaults,
    keep_whole,
    write_expressions,
)
from orm.migrations.revision import Revision
from orm.migrations.target import engine_urls, target_url
from orm.migrations.transaction import one_transaction

__all__ = ["Replay", "replay"]

_LEFT_OUT: Final = (
    "Did not recognize type",
    "Cannot correctly sort tables",
    "autogenerate skipping metadata-specified expression-based index",
    "Computed default on .* cannot be modified",
    "Skipped unsupported reflection of expression-based index",
)

_ONE_ENGINE: Final = (
    '. If it is for another engine, put it under if op.get_context().dialect.name == "…"; if '
    "all revisions are, let [tool.orm] local in pyproject.toml name a database of that engine"
)


@dataclass
class Replay:
    """A scratch database, in which the application's own ``env.py`` has replayed revisions.

    Attributes:
        application: whose revisions and models.
        connection: to the scratch database.
        url: of the database beside which it is.
        metadata: the models.
        beside: whether the scratch database is on the server of that database.
        line: the revisions, if they are others than those in the folder of revisions.
        instead: what takes the place of the models.
        named_by: whose naming convention names the CHECKs that types make; None for the models.
        first: statements that make what no model makes, before the models make their tables.
        folders: where Alembic finds the revisions, if not in the folder of revisions.
        engines: those that new revisions have to suit.
        types: the names of types that the revisions have made, and a new one must not make again.
        schemas: those in which the revisions have made something.
        defaults_differ: whether the default of a column of the models differs; None to have
            Alembic ask the engine, which fails where a type has no ``=``.
    """

    application: Application
    connection: Connection
    url: URL
    metadata: MetaData = field(default_factory=MetaData)
    beside: bool = False
    line: Sequence[Revision] = ()
    instead: MetaData | None = None
    named_by: MetaData | None = None
    first: Sequence[str] = ()
    folders: Sequence[Path] = ()
    engines: Sequence[str] = ()
    types: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset()
    defaults_differ: Callable[[Column[Any]], bool] | None = None

    def upgrade(self, revision: str | None) -> None:
        """Replay the revisions up to one; None for none of them.

        Raises:
            MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
                models cannot be loaded.
        """
        config = self._config()
        with self._alone():
            if revision is None:
                command.current(config)  # for the environment alone
            else:
                command.upgrade(config, revision)

    def load(self) -> None:
        """Load the models, and replay nothing.

        Raises:
            MigrationError: they cannot be loaded.
        """
        config = RunContext(instead=self._take).config(self.application)
        with self._alone():
            command.current(config)  # for the environment alone

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
            MigrationError: Alembic refuses, or its template for revisions is not there.
        """
        template = self.application.versions.parent / "script.py.mako"
        if not template.exists():
            raise MigrationError(
                f"there is no {template}, from which Alembic writes revisions: get it back from "
                "version control"
            )
        config = self._config()
        config.set_main_option("file_template", f"%%(rev)s_{slug}")
        with self._alone(), _quiet():
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
        config = RunContext(instead=self._run).config(self.application)
        if self.folders:
            names = "\n".join(map(str, self.folders)).replace("%", "%%")
            config.set_main_option("version_locations", names)
            config.set_main_option("path_separator", "newline")
        return config

    def _run(self, metadata: MetaData) -> None:
        """Run the Alembic command that called ``env.py`` on the scratch database."""
        self._take(metadata if self.instead is None else self.instead)
        migrations = migrations_for(self.connection.engine.url)
        # Reading has begun a transaction, which Alembic would take for the caller's.
        self.connection.commit()
        context.configure(connection=self.connection, **self.options)
        if command_name(context.get_context()) == "upgrade":
            with migrations.migrating(self.connection, PATIENCE):
                self._upgrade(context.get_context().opts["fn"], migrations)
            return
        migration = context.get_context()
        compare_defaults(migration, self.defaults_differ)
        write_expressions(migration, partial(ddl_text, self.connection.dialect.name))
        with context.begin_transaction(), Operations.context(migration):
            migration.run_migrations()

    def _upgrade(self, fn: Callable[..., Any], migrations: Migrations) -> None:
        """Replay revisions, each as it is applied.

        Args:
            fn: finds Alembic's steps.
            migrations: of the engine.
        """
        files = {file.id: file for file in self.files}
        if not self.folders:
            scripts.use(list(files.values()), context.script)

        def steps(heads: Any, migration: MigrationContext) -> Iterator[RevisionStep]:
            with loading(file.path for file in files.values()):
                found = fn(heads, migration)
            for step in found:
                file, run = files[step.revision.revision], step.migration_fn

                @wraps(run)  # by its name Alembic logs what it does
                def guarded(file: Revision = file, run: Callable[..., None] = run) -> None:
                    with (
                        self._explained(file, migrations),
                        one_transaction(migration, self.connection, migrations),
                    ):
                        run()
                        migrations.verify(self.connection, Counter(), [])

                step.migration_fn = guarded
                yield step

        # Stock Alembic names by the convention of the models.
        own = self.options if self.folders else by_its_own_names(self.options)
        options: dict[str, Any] = {**own, "fn": steps}
        context.configure(connection=self.connection, **options)
        keep_whole(context.get_context(), migrations)
        with context.begin_transaction(), Operations.context(context.get_context()):
            context.get_context().run_migrations()

    def _take(self, metadata: MetaData) -> None:
        migrations_for(self.connection.engine.url).prepare_alembic()
        self.metadata = metadata

    @property
    def options(self) -> dict[str, Any]:
        """What ``env.py`` configures Alembic with."""
        return options_of(
            self.metadata,
            migrations_for(self.connection.engine.url).reserved_tables,
            self.engines,
            self.types,
            self.schemas,
            self.named_by,
        )

    @property
    def files(self) -> list[Revision]:
        """The revisions, in their order."""
        if not self.folders:
            return list(self.line or read(self.application.versions))
        return [
            Revision(script.revision, None, Path(script.path).stem, Path(script.path), "", "", "")
            for script in context.script.walk_revisions("base", "heads")
        ]

    @contextmanager
    def _explained(self, file: Revision, migrations: Migrations) -> Iterator[None]:
        """Errors in a revision as one that names its file and line."""
        try:
            yield
        except NotAScript:
            raise
        except Exception as error:
            raise MigrationError(
                f"{file.path} cannot be replayed in an empty {self.connection.dialect.name} "
                f"database{where(file.path, error)}: "
                f"{cause_in_scratch(error, self.connection, migrations)}"
                f"{_way_out(error, migrations)}"
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread runs Alembic; what the database refuses is an error of this library."""
        try:
            with alembic_alone(self.application):
                yield
        except SQLAlchemyError as error:
            raise MigrationError(
                "the revisions cannot be replayed in an empty "
                f"{self.connection.dialect.name} database: {cause_of(error)}"
            ) from error


def _way_out(error: Exception, migrations: Migrations) -> str:
    """What to do about an error, if that can be told; the engine may not have what was asked."""
    if isinstance(error, DBAPIError):
        if migrations.runs_alone(error):
            return f". {ALONE}"
        return _ONE_ENGINE if migrations.is_not_understood(error) else ""
    return _ONE_ENGINE if isinstance(error, CompileError | NotImplementedError) else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Alembic says of things that it leaves to others, which find them themselves."""
    with warnings.catch_warnings():
        for message in _LEFT_OUT:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def replay(
    application: Application,
    revision: str | None = "head",
    *,
    url: URL | None = None,
    beside: bool = False,
) -> Iterator[Replay]:
    """A scratch database, upgraded to a revision.

    Args:
        application: whose revisions and models.
        revision: the last one to replay; None for none of them.
        url: of a database whose engine the scratch database has, the local one if None; that
            database is not changed.
        beside: whether the two are to be compared, and have to be on one server.

    Raises:
        ConfigurationError: the engine cannot have a scratch database here; says what is missing.
        MigrationError: a revision cannot be loaded, or fails; names its file and line. Or the
            models cannot be loaded.
    """
    if url is None:
        url = target_url("local", application.pyproject)
    with ExitStack() as stack:
        try:
            made = _replayed(application, revision, url, stack, beside=beside)
        except MigrationError as error:
            if beside or not migrations_for(url).scratch_can_lack:
                raise
            try:  # with the roles and extensions that the project's own server has
                made = _replayed(application, revision, url, stack, beside=True)
            except (OrmError, DBAPIError, OSError):
                raise error from error.__cause__
        yield made


def _replayed(
    application: Application, revision: str | None, url: URL, stack: ExitStack, *, beside: bool
) -> Replay:
    with ExitStack() as own:
        connection = own.enter_context(migrations_for(url).scratch(url, beside=beside))
        engines = {url.get_backend_name(): url} | engine_urls(application.pyproject)
        line = before_a_checkpoint(application, revision)
        made = Replay(application, connection, url, beside=beside, engines=list(engines), line=line)
        made.upgrade(revision)
        stack.enter_context(own.pop_all())
        return made
