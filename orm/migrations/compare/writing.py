"""``create``: the next revision, which makes what the models have and the revisions do not."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy import Dialect

from orm.backends import Thing
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.compare import renames
from orm.migrations.compare.completing import complete
from orm.migrations.compare.configuration import remark
from orm.migrations.compare.differences import Difference, of_models
from orm.migrations.compare.effects import Effect, schema_of
from orm.migrations.compare.models import made_by_models, sides
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.compare.timezones import spell_out_zones
from orm.migrations.files import line
from orm.migrations.files.lock import locked
from orm.migrations.files.revisions import read

__all__ = ["Choose", "Created", "create", "follow", "slug_of"]

_LONGEST: Final = 40
"""Characters of a slug, as Alembic has it."""
Choose = Callable[[Sequence[MigrateOperation], Dialect], Sequence[Rename]]
"""Given the operations that autogenerate found, returns those that are renames."""


@dataclass(frozen=True, slots=True)
class Created:
    """A revision file that was written.

    Attributes:
        revision: its number.
        path: the file.
        effects: what it would do to existing rows.
        left: what the models have and it does not make; it fails before that is written by hand.
    """

    revision: str
    path: Path
    effects: Sequence[Effect]
    left: Sequence[Difference] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "revision": self.revision,
            "path": str(self.path),
            "effects": [asdict(effect) for effect in self.effects],
            "left": [{"subject": one.subject, "message": one.fact} for one in self.left],
        }


def create(application: Application, name: str, *, choose: Choose | None) -> Created | None:
    """Write the next revision, and see that it makes what the models say.

    No database is needed, and none is changed.

    Args:
        application: whose next revision.
        name: what the revision is about, for people; its file's name is made from it.
        choose: finds the renames; None to leave the revision empty, to be written by hand.

    Returns:
        The revision; None if the revisions make what the models say.

    Raises:
        ConfigurationError: the name has no letter or digit, or characters that cannot be printed.
        MigrationError: the revisions are not one line, or one of them fails; or the new one does,
            whose file stays.
    """
    message, slug = _message(name), slug_of(name)
    application.versions.mkdir(exist_ok=True)  # Git does not keep an empty folder
    with locked(application.versions):
        files = read(application.versions)
        line.refuse(line.findings_in_files(files))
        with replay(application, files[-1].id if files else None) as made:
            if choose is None:
                written = made.write_revision(message, slug, _nothing, autogenerate=False)
                assert written is not None
                return Created(written.revision, Path(written.path), [])
            created = follow(made, message, slug, choose)
            if created is not None and created.left:
                refuse_in(created.path, created.left)
            return created


def _nothing(*_: object) -> None:
    """Have Alembic write what it found."""


def follow(made: Replay, message: str, slug: str, choose: Choose) -> Created | None:
    """Write the revision that follows the models.

    Args:
        made: all revisions, replayed.
        message: the first line of its docstring.
        slug: of its file's name.
        choose: finds the renames.

    Returns:
        The revision; None if the revisions make what the models say.

    Raises:
        MigrationError: it was written, and does not run.
    """
    wanted = made_by_models(made)
    both = sides(made, wanted)
    left = of_models(both)
    made.defaults_differ = both.defaults_differ
    first = choose(made.compare() if left else [], made.connection.dialect)
    if not left:
        return None
    before = schema_of(made.connection)
    renames.apply(first, made.connection)
    both = sides(made, wanted)
    made.defaults_differ = both.defaults_differ
    found: list[Effect] = []

    def finish(migration: Any, _: object, scripts: list[MigrationScript]) -> None:
        [script] = scripts
        assert script.upgrade_ops is not None
        operations = spell_out_zones(complete(script.upgrade_ops.ops, both, made.metadata))
        script.upgrade_ops.ops = [*(rename.operation for rename in first), *operations]
        found.extend(remark(migration.opts["revision_context"], script, before))

    written = made.write_revision(message, slug, finish, autogenerate=True)
    if written is None:
        written = made.write_revision(message, slug, _nothing, autogenerate=False)
        assert written is not None
    else:
        left = _left(made, written.revision, wanted, anew=bool(first))
    return Created(written.revision, Path(written.path), found, left)


def _left(
    made: Replay, revision: str, wanted: Mapping[Thing, str], *, anew: bool
) -> list[Difference]:
    """What the models have and a new revision does not make.

    Args:
        made: the revisions before it, replayed.
        revision: its number.
        wanted: what the models make.
        anew: whether something was done to the replay already that it does too.

    Raises:
        MigrationError: it fails.
    """
    try:
        if anew:
            with replay(made.application, revision) as again:
                return of_models(sides(again, wanted))
        made.upgrade(revision)
    except MigrationError as error:
        raise MigrationError(
            f"{revision} was written, and does not run: correct the file, or delete it and create "
            f"it anew. {error}"
        ) from error
    return of_models(sides(made, wanted))


def _message(name: str) -> str:
    """The name as one line that any file can hold."""
    line_of_it = " ".join(name.split())
    if not line_of_it.isprintable():  # control characters, or invalid UTF-8
        raise ConfigurationError(f"{name!r} has characters that cannot be printed: leave them out")
    return line_of_it


def slug_of(name: str) -> str:
    """The part of a file's name that says what a revision is about.

    Args:
        name: any text. Letters of any script stay, without their accents.

    Raises:
        ConfigurationError: no letter or digit is in it.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not "\u0300" <= c <= "\u036f")
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower())
    if not words:
        raise ConfigurationError(
            f"{name!r} has no letter or digit to name a file by: say what the revision does, as in "
            '"add a nickname"'
        )
    slug = "_".join(words)
    if len(slug) > _LONGEST:
        slug = slug[: _LONGEST + 1].rpartition("_")[0] or slug[:_LONGEST]
    return slug
