"""``apply`` from Python: one run at a time, whatever else the process does."""

import asyncio
import logging
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, make_url

from orm.exceptions import MigrationError, OrmError
from orm.migrations.application import Application
from orm.migrations.connecting import PATIENCE
from orm.migrations.files.revisions import Revision
from orm.migrations.target import target_url

__all__ = ["apply", "apply_now", "config_of", "script_of"]

_LOG: Final = logging.getLogger(__name__)
_ONE_AT_A_TIME: Final = threading.Lock()
"""`alembic.context` and `alembic.op` are global names of the process."""


async def apply(
    database: str | URL = "local",
    *,
    to: str = "head",
    folder: Path = Path(),
    patience: float = PATIENCE,
) -> list[str]:
    """Apply the pending revisions, in a thread: the event loop goes on.

    Runs from several tasks, threads or processes wait for each other; those that come later find
    nothing left to do. To cancel the task does not stop a run that has begun.

    Args:
        database: ``"local"``, ``"remote"`` (`orm.migrations.target_url`), or a URL.
        to: the last revision to apply.
        folder: where the application's ``pyproject.toml`` is.
        patience: seconds to wait for another process that migrates the database.

    Returns:
        The revisions that were applied.

    Raises:
        MigrationError: why it is refused, or which revision failed; earlier ones stay.
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
    """`apply`, in this thread.

    Args:
        application: whose revisions.
        url: of the database.
        to: the last revision to apply.
        patience: seconds to wait for another process that migrates the database.
        applied: called with each revision once it is committed.
        restore_point: called, before anything is touched, with how to go back; logged otherwise.
    """
    done: list[Revision] = []

    def note(revision: Revision) -> None:
        done.append(revision)
        if applied is not None:
            applied(revision)

    with _ONE_AT_A_TIME, _ours():
        say = restore_point or _LOG.info
        config = config_of(application, url=url, applied=note, restore_point=say, patience=patience)
        command.upgrade(config, to)
    return done


def script_of(
    application: Application, url: URL, at: str | None, pending: Sequence[Revision]
) -> str:
    """The SQL of pending revisions, as far as it is known before they run.

    Args:
        application: whose revisions.
        url: of the database that the SQL is for; it is not connected to.
        at: the revision that the database is at.
        pending: in their order.

    Returns:
        SQL; what has to ask the database while it runs is a comment that says so.
    """
    if not pending:
        return ""
    names = "".join(f"-- {file.name}\n" for file in pending)
    out = StringIO()
    config = config_of(application, url=url)
    config.output_buffer = out
    try:
        with _ONE_AT_A_TIME, _ours():
            command.upgrade(config, f"{at or 'base'}:{pending[-1].id}", sql=True)
    except MigrationError as error:
        reason = " ".join(str(error).split())
        return f"{names}-- There is no script of it: {reason}\n"
    return out.getvalue()


@contextmanager
def _ours() -> Iterator[None]:
    """Errors as this library raises them."""
    try:
        yield
    except CommandError as error:
        if isinstance(error.__cause__, OrmError):
            raise error.__cause__ from error
        raise MigrationError(str(error)) from error


def config_of(application: Application, **attributes: object) -> Config:
    """Alembic's configuration of an application.

    Args:
        application: whose.
        attributes: what `orm.migrations.run` shall find in ``config.attributes``.
    """
    return Config(toml_file=application.pyproject, cmd_opts=Namespace(), attributes=attributes)
