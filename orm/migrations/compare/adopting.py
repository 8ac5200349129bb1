"""``adopt`` and ``squash``: a checkpoint in the place of a history."""

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection

from orm.backends import backend_for, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.checkpoint import Checkpoint, History, write_checkpoint
from orm.migrations.compare.naming import slug_of
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.connecting import on_a_connection
from orm.migrations.explain import cause_of, loading
from orm.migrations.files.line import findings_in_files, refuse
from orm.migrations.files.lock import locked
from orm.migrations.files.numbers import next_number
from orm.migrations.files.revisions import read
from orm.migrations.ledger import table as ledger
from orm.migrations.target import engine_urls, target_url

__all__ = ["Archive", "adopt", "archive_of", "squash"]

_INSTEAD: Final = (
    "Nothing was written. To take the schema of a database that is at their head in place of a "
    "replay: orm migrations adopt --local, or orm migrations adopt --remote"
)
_OTHER: Final = (
    "Nothing was written. If they are for another engine alone, let [tool.orm] in pyproject.toml "
    "name no other one (local, engines) until the checkpoint is written"
)


@dataclass(frozen=True, slots=True)
class Archive:
    """A folder of Alembic's with revisions of another kind, which stays as it is.

    Attributes:
        scripts: the folder of its ``env.py``.
        folders: those of its revisions.
        paths: what it puts before `sys.path`.
        ids: its revisions.
        heads: the last ones.
        merges: how many of them merge branches.
        downgrades: how many have a ``downgrade``.
    """

    scripts: Path
    folders: Sequence[Path]
    paths: Sequence[str]
    ids: Sequence[str]
    heads: tuple[str, ...]
    merges: int
    downgrades: int


def archive_of(config: Config) -> Archive:
    """Look at the revisions that a configuration of Alembic names; its ``env.py`` is not run.

    Raises:
        MigrationError: they cannot be loaded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paths = config.get_prepend_sys_paths_list()
            directory = ScriptDirectory.from_config(config)
            folders = directory.version_locations or [directory.dir]
            with loading(one for each in folders for one in Path(each).absolute().rglob("*.py")):
                scripts = list(directory.walk_revisions("base", "heads"))
    except MigrationError:
        raise
    except CommandError as error:
        raise MigrationError(f"the revisions cannot be read: {error}") from error
    except Exception as error:  # whatever a file does when it is imported
        raise MigrationError(f"the revisions cannot be loaded: {cause_of(error)}") from error
    return Archive(
        scripts=Path(directory.dir).absolute(),
        folders=sorted({Path(script.path).absolute().parent for script in scripts}),
        paths=paths or ["."],
        ids=[script.revision for script in scripts],
        heads=tuple(sorted(directory.get_heads())),
        merges=sum(script.is_merge_point for script in scripts),
        downgrades=sum(hasattr(script.module, "downgrade") for script in scripts),
    )


def adopt(application: Application, archive: Archive, name: str, target: str | None) -> Checkpoint:
    """Write the revision that stands for the revisions of an archive.

    No database is changed.

    Args:
        application: whose revision; it has none yet.
        archive: what it stands for.
        name: what it is about, for people; its file's name is made from it.
        target: ``"local"`` or ``"remote"``: the database, at the head of the archive, whose schema
            it makes; None to replay the archive in an empty database.

    Raises:
        MigrationError: a revision of the archive fails there, or on another engine that the
            project names; the database is not at its head, or the models cannot be loaded.
        ConfigurationError: the target names no database; or the name has no letter or digit.
    """
    slug = slug_of(name)
    application.versions.mkdir(parents=True, exist_ok=True)
    if read(application.versions):
        raise MigrationError(
            f"{application.versions} has revisions already: to make one of them, "
            "orm migrations squash"
        )
    if not archive.heads:
        raise MigrationError(
            f"{archive.scripts} has no revisions, so there is no history to stand for: delete it "
            "and alembic.ini, and run orm init"
        )
    [one, *others] = archive.heads
    replaces = archive.heads if others else one
    number = next_number(archive.ids)
    url = target_url(target or "local", application.pyproject)
    urls = {url.get_backend_name(): url} | engine_urls(application.pyproject)
    engines = list(urls)

    def replayed(url: URL, stack: ExitStack) -> Replay:
        connection = stack.enter_context(migrations_for(url).scratch(url))
        _replay(made := Replay(application, connection, url, engines=engines), archive, target)
        return made

    if target is None:
        with ExitStack() as stack:
            histories = [replayed(url, stack) for url in urls.values()]
            return write_checkpoint(histories, History(replaces, number), name, slug)

    found: list[Checkpoint] = []

    def work(connection: Connection) -> None:
        heads = ledger.heads(connection)
        if heads != set(archive.heads):
            raise MigrationError(
                f"the database is at {', '.join(sorted(heads)) or 'no revision'}, and the head of "
                f"the old revisions is {', '.join(archive.heads)}: bring it there first"
            )
        made = Replay(application, connection, url, engines=engines)
        made.load()
        history = History(replaces, number, rows=False)
        with ExitStack() as stack:
            others = [replayed(urls[engine], stack) for engine in engines[1:]]
            found.append(write_checkpoint([made, *others], history, name, slug))

    on_a_connection(backend_for(url).reader_engine(url), work, url=url)
    return found[0]


def _replay(made: Replay, archive: Archive, target: str | None) -> None:
    made.folders = archive.folders
    try:
        made.upgrade("heads")
    except Exception as error:  # whatever a revision does
        engine = made.connection.dialect.name
        raise MigrationError(
            "the old revisions cannot be replayed in an empty "
            f"{engine} database: {cause_of(error)}. "
            f"{_INSTEAD if target is None and made.engines[0] == engine else _OTHER}"
        ) from error
    made.folders = ()


def squash(application: Application, name: str) -> Checkpoint:
    """Write the revision that stands for all that there are, which go to the folder ``replaced``.

    No database is changed.

    Args:
        application: whose revisions.
        name: what it is about, for people.

    Raises:
        MigrationError: there is nothing to squash, or a revision fails in an empty database.
        ConfigurationError: the name has no letter or digit.
    """
    slug = slug_of(name)
    with locked(application.versions):
        files = read(application.versions)
        refuse(findings_in_files(files))
        if len(files) < 2:
            raise MigrationError("there is nothing to squash: it takes two revisions or more")
        history = History(f"{files[0].id}:{files[-1].id}", next_number(file.id for file in files))
        with ExitStack() as stack:
            urls = engine_urls(application.pyproject).values()
            made = [stack.enter_context(replay(application, files[-1].id, url=url)) for url in urls]
            application.replaced.mkdir(exist_ok=True)
            moved = [(file.path, application.replaced / file.path.name) for file in files]
            taken = Counter(new.exists() for _, new in moved)
            if taken[True]:
                raise MigrationError(f"{application.replaced} has some of these files already")
            for old, new in moved:
                old.rename(new)
            try:
                return write_checkpoint(made, history, name, slug)
            except BaseException:
                for old, new in moved:
                    new.rename(old)
                raise
