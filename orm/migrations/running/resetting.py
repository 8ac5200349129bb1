"""``reset``: the local database anew, from where the revisions of the checkout lead on."""

import os

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from orm.backends import migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.explain import RevisionFailed
from orm.migrations.files.line import findings_in_files, refuse
from orm.migrations.files.revisions import read
from orm.migrations.ledger.reading import read_database
from orm.migrations.ledger.state import State
from orm.migrations.revision import Revision
from orm.migrations.running.applying import apply_now
from orm.migrations.target import target_url

__all__ = ["reset"]


def reset(application: Application, *, zero: bool) -> tuple[str | None, list[Revision]]:
    """Apply the revisions to a new local database, which begins empty, or as a restore point.

    The restore point is the latest one in which every revision is one of this checkout.

    Args:
        application: whose local database.
        zero: whether to take no restore point.

    Returns:
        The restore point, None if the database began empty; and the revisions that were applied.

    Raises:
        MigrationError: it is the remote database too; another process migrates it; the files are
            not one line; or a revision failed.
        ConfigurationError: the local target names no database.
    """
    url = target_url("local", application.pyproject)
    if _is_remote(url):
        raise MigrationError(
            f"{url.render_as_string()} is also what ORM_REMOTE_URL names, and no remote database "
            "is reset. Nothing was changed"
        )
    files = read(application.versions)
    refuse(findings_in_files(files, "local"))

    def suits(point: URL) -> bool:
        state = State.of(application, files, *read_database(point))
        return not zero and state.at is not None and not state.findings

    with migrations_for(url).begin_anew(url, suits) as (made, point):
        try:
            return point, apply_now(application, made)
        except RevisionFailed as error:
            if made == url:
                raise
            raise MigrationError(
                f"{error.what}\nThat was a new database, and is gone: "
                f"{url.render_as_string()} is as it was. Correct the file, and reset again"
            ) from error


def _is_remote(url: URL) -> bool:
    try:
        remote = make_url(os.environ.get("ORM_REMOTE_URL", ""))
    except ArgumentError:
        return False
    where = ("host", "port", "database")
    same = url.get_backend_name() == remote.get_backend_name()
    return same and all(getattr(url, part) == getattr(remote, part) for part in where)
