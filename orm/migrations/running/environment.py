"""What Alembic runs as ``env.py``: one line of numbered revisions, each in a transaction."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from alembic import context
from alembic.runtime.environment import EnvironmentContext
from alembic.util import CommandError
from sqlalchemy import URL, Connection, MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends import backend_for, migrations_for
from orm.exceptions import ConfigurationError, OrmError
from orm.migrations.application import Application
from orm.migrations.compare.configuration import by_its_own_names, options_of
from orm.migrations.compare.rendering import ddl_text
from orm.migrations.compare.sql import print_script
from orm.migrations.connecting import on_a_connection
from orm.migrations.context import RunContext
from orm.migrations.files import scripts
from orm.migrations.files.checkpoints import before_a_checkpoint
from orm.migrations.files.line import findings_in_files, refuse
from orm.migrations.files.revisions import read
from orm.migrations.internals import command_name, write_expressions
from orm.migrations.revision import Revision
from orm.migrations.running.direction import is_read_only, refuse_backward
from orm.migrations.running.upgrade import Upgrade
from orm.migrations.target import engine_urls, target_url

__all__ = ["run"]


def run(metadata: MetaData) -> None:
    """Run the Alembic command that called ``env.py``.

    The database is the one in ``config.attributes["connection"]``, if that is set: a `Connection`,
    whose open transaction is left to its owner, or an `AsyncEngine`, which no other event loop may
    be using, and whose pool is disposed of afterwards. Otherwise it is the target that
    ``alembic -x target=local`` or ``-x target=remote`` names, or else the local one.

    It works inside a running event loop too, which does nothing else meanwhile;
    `orm.migrations.apply` lets it go on. Alembic can run one command at a time in a process.

    Args:
        metadata: the models, for ``alembic revision --autogenerate`` and ``alembic check``.

    Raises:
        CommandError: the command is refused, or cannot be carried out as asked; says what to do.
    """
    try:
        _run(metadata)
    except OrmError as error:
        # The `alembic` command shows a CommandError as one line, anything else as a traceback.
        raise CommandError(str(error)) from error


def _run(metadata: MetaData) -> None:
    asked = RunContext.of(context.config)
    if asked.instead is not None:
        asked.instead(metadata)
        return
    given = context.config.attributes.get("connection")
    url = _url(given, asked)
    migrations = migrations_for(url)
    migrations.prepare_alembic()
    options = options_of(metadata, migrations.reserved_tables)
    # A context without a connection prints SQL; online it serves to learn which command runs,
    # before anything connects to a database.
    context.configure(
        url=url,
        literal_binds=context.is_offline_mode(),
        dialect_opts={"paramstyle": "named"},
        **options,
    )
    refuse_backward(context.get_context())
    # `alembic.context` is a global name for the command that began last.
    environment = context.get_context().environment_context
    assert environment is not None
    application = Application(_pyproject(), Path(environment.script.versions))
    files = None
    if command_name(environment.get_context()) == "revision":
        engines = {url.get_backend_name(): url} | engine_urls(_pyproject())
        options = options_of(metadata, migrations.reserved_tables, engines)
    if command_name(environment.get_context()) == "upgrade":
        files = _files(application, environment)
        scripts.use(files, environment.script)
        options = by_its_own_names(options)
        if environment.is_offline_mode() or migrations.is_absent(url):  # there is no ledger
            refuse(findings_in_files(files))
    if environment.is_offline_mode():
        print_script(environment, url, options, files)
        return

    migrate = partial(_migrate, environment, url, asked, application, files, options)
    if isinstance(given, Connection):
        migrate(given)
    elif given is None and is_read_only(environment.get_context()) and migrations.is_absent(url):
        with migrations.scratch(url) as nothing:  # to connect to the database would create it
            migrate(nothing)
    else:
        on_a_connection(migrations.engine(url) if given is None else given, migrate, url=url)


def _files(application: Application, environment: EnvironmentContext) -> Sequence[Revision]:
    """The revisions; of a script that begins before a checkpoint, those from there on."""
    begins = environment.get_starting_revision_argument() if environment.is_offline_mode() else None
    older = before_a_checkpoint(application, begins) if isinstance(begins, str) else ()
    return older or read(application.versions)


def _url(given: object, asked: RunContext) -> URL:
    """The URL of the database that the command works on."""
    if isinstance(given, Connection):
        return given.engine.url
    if isinstance(given, AsyncEngine):
        return given.url
    if given is not None:
        raise ConfigurationError(
            "config.attributes['connection'] must be a sqlalchemy.Connection or an AsyncEngine, "
            f"not {type(given).__name__}"
        )
    if asked.url is not None:
        return asked.url
    arguments = context.get_x_argument(as_dictionary=True)
    target = arguments.pop("target", "local")
    if arguments:  # a slip such as `-x remote` must not end up in another database
        raise ConfigurationError(
            f"-x {next(iter(arguments))} means nothing here: write -x target=local or "
            "-x target=remote"
        )
    return target_url(target, _pyproject())


def _pyproject() -> Path:
    return Path(context.config.toml_file_name or "pyproject.toml")


def _migrate(
    environment: EnvironmentContext,
    url: URL,
    asked: RunContext,
    application: Application,
    files: Sequence[Revision] | None,
    options: dict[str, Any],
    connection: Connection,
) -> None:
    if is_read_only(environment.get_context()):
        environment.configure(connection=connection, dont_mutate=True, **options)
        write_expressions(environment.get_context(), partial(ddl_text, connection.dialect.name))
        with environment.begin_transaction():
            environment.run_migrations()
        return

    backend, migrations = backend_for(url), migrations_for(url)
    with migrations.migrating(connection, asked.patience):
        if files is not None:
            upgrade = Upgrade(environment, connection, backend, migrations, application, files)
            upgrade.run(options, asked)
            return
        backend.prepare(connection)
        connection.commit()
        environment.configure(connection=connection, **options)
        with environment.begin_transaction():
            environment.run_migrations()
        connection.commit()  # Alembic's version table, which it creates outside of any revision
