"""Start and stop a `Database` with an application, which does not serve on an older schema."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from orm import migrations as orm_migrations
from orm.database import Database
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.files import revisions
from orm.migrations.ledger import agreement
from orm.migrations.ledger import table as ledger

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
        migrations: ``"check"`` refuses to start while revisions are pending. A database that is
            ahead is fine: it is so in every deployment, while the old code still runs.
            ``"apply"`` applies them first; of several processes that start at once, one does.
            ``"ignore"`` does not look.
        folder: where the application's ``pyproject.toml`` is; an application that is installed
            as a package keeps both in the package, and says ``Path(__file__).parent``. By
            default, what the environment variable ``ORM_FOLDER`` names when the application
            starts, else the working directory.

    Raises:
        ConfigurationError: `migrations` is none of the three.
    """
    if migrations not in ("check", "apply", "ignore"):
        raise ConfigurationError("migrations is 'check', 'apply' or 'ignore'")

    @asynccontextmanager
    async def started(_: Any) -> AsyncIterator[None]:
        if migrations == "apply":
            application = _application(folder)
            url = database.cluster.primary.url
            await orm_migrations.apply(url, folder=application.pyproject.parent)
        async with database:
            if migrations == "check":
                await _refuse_pending(database, _application(folder))
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


async def _refuse_pending(database: Database, application: Application) -> None:
    async with database.cluster.primary.engine.connect() as connection:
        applied = await connection.run_sync(ledger.read)
    pending = agreement.pending(revisions.read(application.versions), applied)
    if pending:
        names = ", ".join(revision.name for revision in pending)
        raise MigrationError(
            f"{database.cluster.primary.url.render_as_string()} lacks {names}: before the "
            "application starts, run orm migrations apply --local, or orm migrations apply "
            "--remote, where that names this database. Or let it apply them, by lifespan(…, "
            "migrations='apply')"
        )
