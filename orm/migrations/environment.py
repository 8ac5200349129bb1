"""What Alembic runs as ``env.py``: an async engine, one transaction a revision, forward only."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

from alembic import context
from alembic.util import CommandError
from sqlalchemy import URL, Connection, MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

import orm.migrations.rebuild  # noqa: F401 - Alembic finds by itself what it defines
from orm.backends import Backend, backend_for
from orm.exceptions import ConfigurationError, OrmError
from orm.migrations.direction import command_name, is_read_only, refuse_backward
from orm.migrations.filters import leave_out
from orm.migrations.new_columns import refuse_files_without_values
from orm.migrations.numbering import number
from orm.migrations.restore import make_restore_point
from orm.migrations.target import target_url

__all__ = ["run"]

_LOG: Final = logging.getLogger(__name__)


def run(metadata: MetaData) -> None:
    """Run the Alembic command that called ``env.py``.

    The database is the one in ``config.attributes["connection"]``, if that is set: a `Connection`,
    whose open transaction is left to its owner, or an `AsyncEngine`, which no other event loop may
    be using, and whose pool is disposed of afterwards. Either has to bring what the backend's
    `migration_engine` would: transactional DDL, and foreign keys that are not enforced during a
    table rebuild. Otherwise it is the target that ``alembic -x target=local`` or
    ``-x target=remote`` names, or else the local one.

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
    given = context.config.attributes.get("connection")
    url = _url(given)
    backend = backend_for(url)
    options: dict[str, Any] = {
        "target_metadata": metadata,
        "include_name": leave_out(backend.reserved_tables),
        "compare_server_default": True,
        "process_revision_directives": number,
        # One revision file serves every backend, so its operations are always written in the form
        # that SQLite needs; elsewhere it comes to the same ALTER statements.
        "render_as_batch": True,
        "transactional_ddl": True,
        "transaction_per_migration": True,
    }
    offline = context.is_offline_mode()
    # A context without a connection prints SQL; online it serves to learn which command runs,
    # before any database is touched.
    context.configure(
        url=url, literal_binds=offline, dialect_opts={"paramstyle": "named"}, **options
    )
    refuse_backward(context.get_context())
    if offline:
        with context.begin_transaction():
            context.run_migrations()
        return

    read_only = is_read_only(context.get_context())
    migrate = partial(_migrate, backend=backend, read_only=read_only, options=options)
    if isinstance(given, Connection):
        migrate(given)
    else:
        _refuse_running_loop()
        engine = backend.migration_engine(url) if given is None else given
        asyncio.run(_with_engine(engine, migrate))


def _url(given: object) -> URL:
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
    arguments = context.get_x_argument(as_dictionary=True)
    target = arguments.pop("target", "local")
    if arguments:  # a slip such as `-x remote` must not end up in another database
        raise ConfigurationError(
            f"-x {next(iter(arguments))} means nothing here: write -x target=local or "
            "-x target=remote"
        )
    return target_url(target, Path(context.config.toml_file_name or "pyproject.toml"))


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise CommandError(
        "migrations run an event loop of their own, and one is running in this thread: call "
        "await asyncio.to_thread(alembic.command.upgrade, config, 'head'), or hand over a "
        "connection: await connection.run_sync(...) with config.attributes['connection'] set to "
        "the Connection it is given"
    )


async def _with_engine(engine: AsyncEngine, migrate: Callable[[Connection], None]) -> None:
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        # Pooled connections belong to the event loop, which ends here.
        await engine.dispose()


def _migrate(
    connection: Connection, backend: Backend, *, read_only: bool, options: dict[str, Any]
) -> None:
    ours = not connection.in_transaction()  # else the caller's, who commits it
    pending = [] if read_only else _pending(connection, options)
    faults = backend.faults(connection) if pending else None
    if faults:
        _LOG.warning(
            "%d foreign key(s) were without their parent row before any revision ran: %s",
            faults.total(),
            ", ".join(list(faults)[:5]),
        )
    if ours:
        connection.rollback()  # what reading began
        if pending:
            make_restore_point(
                backend, connection.engine.url, pending[0], context.config.print_stdout
            )
    if not read_only:
        # Alembic takes a transaction that is open when it is configured for the caller's, and
        # would never commit it.
        with connection.begin() if ours else nullcontext():
            backend.prepare(connection)

    context.configure(
        connection=connection,
        dont_mutate=read_only,
        # Called inside each revision's own transaction.
        on_version_apply=lambda *_, **__: backend.verify(connection, faults),
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()
    if ours and not read_only:
        connection.commit()  # what Alembic wrote outside of any revision: its version table


def _pending(connection: Connection, options: dict[str, Any]) -> list[str]:
    """The revisions that the command will run."""
    context.configure(connection=connection, **options)
    migration = context.get_context()
    if command_name(migration) != "upgrade":
        return []
    steps = list(migration.opts["fn"](migration.get_current_heads(), migration))
    refuse_files_without_values(connection, [Path(step.revision.path) for step in steps])
    return [step.revision.revision for step in steps]
