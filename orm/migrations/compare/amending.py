"""``create --amend``: the newest revision is written anew, where no remote database has it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.files.line import command_line
from orm.migrations.ledger.state import State, look, remote_state
from orm.migrations.revision import Revision
from orm.migrations.target import REMOTE_VARIABLE, target_url

__all__ = ["newest_to_amend", "set_aside"]


def newest_to_amend(
    application: Application, files: Sequence[Revision]
) -> tuple[Revision, list[str]]:
    """The newest revision, if it may be written anew; nothing is changed.

    Args:
        application: whose revisions.
        files: they, in one line.

    Returns:
        The revision, and sentences on what is known of databases that may have it.

    Raises:
        MigrationError: there is none, it is a checkpoint, or the remote database has it; or a
            database cannot be read.
    """
    if not files:
        raise MigrationError(
            "there is no revision to write anew: leave out --amend to write the first one"
        )
    newest = files[-1]
    if newest.replaces:
        raise MigrationError(
            f"{newest.path.name} is a checkpoint, which stands for revisions and is not written "
            'from the models. Write a new revision: orm migrations create "follow the models"'
        )
    said: list[str] = []
    remote = remote_state(application)
    if remote is None:
        said.append(
            f"No remote database was asked: {REMOTE_VARIABLE} is not set. If one has "
            f"{newest.name}, put the old text back and write a new revision."
        )
    elif _has(remote, newest):
        url = target_url("remote", application.pyproject)
        raise MigrationError(
            f"{url.render_as_string(hide_password=True)} has {newest.name}, and what is applied "
            'there stays as it is. Write a new revision: orm migrations create "follow the models"'
        )
    if _has(look(application, "local"), newest):
        said.append(
            f"The local database has the old {newest.id}. To begin it anew: "
            + command_line("reset", "local")
        )
    return newest, said


def _has(state: State, revision: Revision) -> bool:
    return revision.id in state.heads or any(row.revision == revision.id for row in state.applied)


@contextmanager
def set_aside(revision: Revision) -> Iterator[Path]:
    """Within the block, the file of a revision has another name.

    Args:
        revision: the newest one.

    Yields:
        The path at which the old text is. It stays there if the block writes a file of the same
        number, whether that runs or not; else it is put back, as after any other error.

    Raises:
        MigrationError: the one that the block raises, with that path if the old text stays there.
    """
    folder = revision.path.parent
    names = (folder / f"{revision.path.name}.{number}.old" for number in count(1))
    kept = next(name for name in names if not name.exists())
    revision.path.rename(kept)

    def written() -> list[Path]:
        return list(folder.glob(f"{revision.id}_*.py"))

    try:
        yield kept
    except MigrationError as error:
        if not written():
            raise
        raise MigrationError(f"{error}. The old text is in {kept}") from error
    except BaseException:  # Ctrl-C: what is half done is not proved
        for draft in written():
            draft.unlink()
        raise
    finally:
        if not written():
            kept.rename(revision.path)
