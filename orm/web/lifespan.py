"""Start and stop a `Database` with an application, which does not serve on an older schema."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import URL, Connection, inspect

from orm import migrations as orm_migrations
from orm._given import instance
from orm.backends import migrations_for
from orm.database import Database
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.files import revisions
from orm.migrations.ledger import agreement
from orm.migrations.ledger import table as ledger
from orm.migrations.ledger.applied import Applied
from orm.migrations.revision import Revision

__all__ = ["lifespan"]

_VARIABLE: Final = "ORM_FOLDER"


def lifespan(
    database: Database,
    *,
    migrations: Literal["check", "apply", "ignore"] = "check",
    folder: Path | None = None,
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Make the ``lifespan`` of a FastAPI, Starlette or Litestar application.

    Args:
        database: started with the application, closed with it.
        migrations: ``"check"`` refuses to start while revisions are pending, or if there is none
            and the database is empty. A database that is ahead is fine: it is so in every
            deployment, while the old code still runs.
            ``"apply"`` applies them first; of several processes that start at once, one does.
            ``"ignore"`` does not look.
        folder: where the application's ``pyproject.toml`` is; an application that is installed
            as a package keeps both in the package, and says ``Path(__file__).parent``. By
            default, what the environment variable ``ORM_FOLDER`` names when the application
            starts, else the working directory.

    Raises:
        ConfigurationError: `migrations` is none of the three; or there is no Database.
    """
    instance("database", database, Database, "a Database")
    if migrations not in ("check", "apply", "ignore"):
        raise ConfigurationError("migrations is 'check', 'apply' or 'ignore'")

    @asynccontextmanager
    async def started(_: Any) -> AsyncIterator[None]:
        if migrations == "ignore":
            async with database:
                yield
            return
        application = _application(folder)
        files = revisions.read(application.versions)
        url = database.cluster.primary.url
        if migrations_for(url).is_absent(url) and (migrations == "check" or not files):
            _refuse(url, application, files, [], is_empty=True)  # what is opened is made
        if migrations == "apply":
            await orm_migrations.apply(url, folder=application.pyproject.parent)
        async with database:
            async with database.cluster.primary.engine.connect() as connection:
                applied, is_empty = await connection.run_sync(_look)
            _refuse(database.cluster.primary.url, application, files, applied, is_empty=is_empty)
            yield

    return started


def _application(folder: Path | None) -> Application:
    try:
        return Application.at(folder or Path(os.environ.get(_VARIABLE, "")))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}. An application that starts elsewhere names its folder: "
            f"lifespan(…, folder=…), or the environment variable {_VARIABLE}"
        ) from error


def _look(connection: Connection) -> tuple[list[Applied], bool]:
    """What is applied, and whether there is no table but the library's own."""
    migrations = migrations_for(connection.engine.url)
    ours = migrations.reserved_tables | {ledger.TABLE.name, ledger.VERSION.name}
    is_empty = set(inspect(connection).get_table_names()) <= ours
    if is_empty:  # in the default schema, at least
        there = migrations.definitions(connection)
        is_empty = {thing.table for thing in there if thing.kind == "table"} <= ours
    return ledger.read(connection), is_empty


def _refuse(
    url: URL,
    application: Application,
    files: Sequence[Revision],
    applied: Sequence[Applied],
    *,
    is_empty: bool,
) -> None:
    """Refuse a database in which the application would not find its tables."""
    where = url.render_as_string()
    if pending := agreement.pending(files, applied):
        names = ", ".join(revision.name for revision in pending)
        raise MigrationError(
            f"{where} lacks {names}: before the application starts, run "
            "orm migrations apply --local, or orm migrations apply --remote, where that names this "
            "database. Or let it apply them, by lifespan(…, migrations='apply')"
        )
    if is_empty and not files:
        raise MigrationError(
            f"{where} has no tables, and there is no revision in {application.versions} that makes "
            'some. Write the first one, with orm migrations create "first", and apply it, with '
            "orm migrations apply --local. An application whose tables something else makes says "
            "lifespan(…, migrations='ignore')"
        )
