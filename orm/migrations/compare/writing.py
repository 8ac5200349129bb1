"""``create``: the next revision, which makes what the models have and the revisions do not."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy import Dialect

from orm.exceptions import ConfigurationError
from orm.migrations.application import Application
from orm.migrations.compare import renames
from orm.migrations.compare.configuration import remark
from orm.migrations.compare.effects import Effect, schema_of
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import replay
from orm.migrations.files import line
from orm.migrations.files.lock import locked
from orm.migrations.files.revisions import read

__all__ = ["Choose", "Created", "create", "slug_of"]

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
    """

    revision: str
    path: Path
    effects: Sequence[Effect]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "revision": self.revision,
            "path": str(self.path),
            "effects": [asdict(effect) for effect in self.effects],
        }


def create(application: Application, name: str, *, choose: Choose | None) -> Created | None:
    """Write the next revision. No database is needed, and none is changed.

    Args:
        application: whose next revision.
        name: what the revision is about, for people; its file's name is made from it.
        choose: finds the renames; None to leave the revision empty, to be written by hand.

    Returns:
        The revision; None if the revisions make what the models say.

    Raises:
        ConfigurationError: the name has no letter or digit, or characters that cannot be printed.
        MigrationError: the revisions are not one line, or one of them fails.
    """
    message, slug = _message(name), slug_of(name)
    application.versions.mkdir(exist_ok=True)  # Git does not keep an empty folder
    with locked(application.versions):
        files = read(application.versions)
        line.refuse(line.findings_in_files(files))
        with replay(application, files[-1].id if files else None) as made:
            before = schema_of(made.connection)
            first = choose(made.compare(), made.connection.dialect) if choose else []
            renames.apply(first, made.connection)
            found: list[Effect] = []

            def complete(migration: Any, _: object, scripts: list[MigrationScript]) -> None:
                [script] = scripts
                assert script.upgrade_ops is not None
                script.upgrade_ops.ops[:0] = [rename.operation for rename in first]
                found.extend(remark(migration.opts["revision_context"], script, before))

            written = made.write_revision(message, slug, complete, autogenerate=choose is not None)
    return None if written is None else Created(written.revision, Path(written.path), found)


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
