"""``apply`` from Python: one run at a time, while the event loop of the process goes on."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic import command
from sqlalchemy import URL, make_url

from orm.migrations.application import Application
from orm.migrations.connecting import PATIENCE
from orm.migrations.context import RunContext, alembic_alone
from orm.migrations.revision import Revision
from orm.migrations.target import target_url

__all__ = ["apply", "apply_now"]

_LOG: Final = logging.getLogger(__name__)


async def apply(
    database: str | URL = "local",
    *,
    to: str = "head",
    folder: Path = Path(),
    patience: float = PATIENCE,
) -> list[str]:
    """Apply the pending revisions, in a thread: the event loop goes on.

    Runs from several tasks, threads or processes wait for each other; those that come later find
    no pending revision. To cancel the task does not stop a run that has begun.

    Args:
        database: ``"local"``, ``"remote"`` (`orm.migrations.target_url`), or a URL.
        to: the last revision to apply.
        folder: where the application's ``pyproject.toml`` is.
        patience: seconds to wait for another process that migrates the database.

    Returns:
        The revisions that were applied.

    Raises:
        MigrationError: it is refused, a revision failed (earlier ones stay), or the models cannot
            be loaded; says why, and what to do.
        ConfigurationError: there is no such target, or no application in the folder.
    """
    application = Application.at(folder)
    if database in ("local", "remote"):
        url = target_url(str(database), application.pyproject)
    else:
        url = make_url(database)
    done = await asyncio.to_thread(apply_now, application, url, to=to, patience=patience)
    return [revision.id for revision in done]


def apply_now(
    application: Application,
    url: URL,
    *,
    to: str = "head",
    patience: float = PATIENCE,
    applied: Callable[[Revision], None] | None = None,
    restore_point: Callable[[str], None] | None = None,
) -> list[Revision]:
    """Apply the pending revisions, in this thread.

    Args:
        application: whose revisions.
        url: of the database.
        to: the last revision to apply.
        patience: seconds to wait for another process that migrates the database.
        applied: called with each revision once it is committed.
        restore_point: called with how to go back, before anything is changed; None to log it.

    Returns:
        The revisions that were applied.

    Raises:
        MigrationError: it is refused, a revision failed (earlier ones stay), or the models cannot
            be loaded; says why, and what to do.
    """
    done: list[Revision] = []

    def note(revision: Revision) -> None:
        done.append(revision)
        if applied is not None:
            applied(revision)

    asked = RunContext(
        url=url, patience=patience, applied=note, restore_point=restore_point or _LOG.info
    )
    with alembic_alone(application):
        command.upgrade(asked.config(application), to)
    return done
