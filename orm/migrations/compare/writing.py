"""``create``: the next revision, which makes what the models have and the revisions do not."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError

from orm.backends import Thing, migrations_for
from orm.exceptions import ConfigurationError, MigrationError
from orm.migrations.application import Application
from orm.migrations.compare import renames
from orm.migrations.compare.completing import complete
from orm.migrations.compare.configuration import remark
from orm.migrations.compare.differences import Difference, of_models
from orm.migrations.compare.effects import Effect, Schema, schema_of
from orm.migrations.compare.models import Sides, made_by_models, sides
from orm.migrations.compare.ordering import ordered
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.explain import cause_of
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
            return _follow(made, message, slug, choose)


def _nothing(*_: object) -> None:
    """Have Alembic write what it found."""


def _follow(made: Replay, message: str, slug: str, choose: Choose) -> Created | None:
    """Write the revision that follows the models.

    Args:
        made: all revisions, replayed.
        message: the first line of its docstring.
        slug: of its file's name.
        choose: finds the renames.
    """
    wanted = made_by_models(made)
    both = sides(made, wanted)
    left = of_models(both)
    made.defaults_differ = both.defaults_differ
    found = made.compare() if left else []
    first = choose(found, made.connection.dialect)
    if not left:
        return None
    draft = _Draft(made, message, slug, wanted, schema_of(made.connection), first)
    if first:
        renames.apply(first, made.connection)
        both = sides(made, wanted)
        made.defaults_differ = both.defaults_differ
        found = made.compare()
    draft.found = complete(ordered(found), both, made.metadata)
    after = _completed(draft, both)
    left = of_models(both if isinstance(after, MigrationError) else after)
    if isinstance(after, MigrationError) and isinstance(after.__cause__, DBAPIError):
        # No statement is known to make it: what was tried may help who writes it by hand.
        cause = " ".join(cause_of(after.__cause__).split())
        left.append(Difference("model", "what fails", f"what follows fails: {cause}"))
    elif isinstance(after, MigrationError):
        raise MigrationError(
            f"{draft.revision} was written, and does not run: correct the file, or delete it and "
            f"create it anew. {after}"
        ) from after
    if left:
        refuse_in(draft.path, left)
    return Created(draft.revision, draft.path, draft.effects, left)


def _completed(draft: "_Draft", both: Sides) -> Sides | MigrationError:
    """Write what Alembic has found, and in its place what the backend knows if that does not do.

    Args:
        draft: the revision.
        both: what is there, and what the models make.

    Returns:
        What the revision that stays has made; or how it fails.
    """
    migrations = migrations_for(draft.made.connection.engine.url)
    definitions, models = (both.revisions, both.models), draft.made.metadata
    first: Sides | MigrationError = both
    operations = migrations.adapted(draft.found, definitions, models)
    if operations is not None:
        draft.write(operations)
        first = draft.proved(anew=bool(draft.renames))
        if isinstance(first, Sides) and not first.left:
            return first
    left = both.left if isinstance(first, MigrationError) else first.left
    better = migrations.operations_for(left, operations or (), definitions, models)
    if better is not None:
        draft.write(better)
        second = draft.proved(anew=True)
        if operations is None or isinstance(second, Sides) or isinstance(first, MigrationError):
            return second
    if better is not None or operations is None:
        draft.write(operations or ())
    return first


@dataclass
class _Draft:
    """A revision that is written anew until it makes what the models say.

    Attributes:
        made: the revisions before it, replayed.
        message: the first line of its docstring.
        slug: of its file's name.
        wanted: what the models make.
        before: the tables that it meets.
        renames: what it does first.
        found: what Alembic has found for it to do then.
        effects: what that does to rows.
        path: its file.
        revision: its number.
    """

    made: Replay
    message: str
    slug: str
    wanted: Mapping[Thing, str]
    before: Schema
    renames: Sequence[Rename]
    found: Sequence[MigrateOperation] = ()
    effects: list[Effect] = field(default_factory=list)
    path: Path = Path()
    revision: str = ""

    def write(self, operations: Sequence[MigrateOperation]) -> None:
        """Write the file, in place of what was written before."""
        if self.revision:
            self.path.unlink()
        renames = [rename.operation for rename in self.renames]

        def finish(migration: Any, _: object, scripts: list[MigrationScript]) -> None:
            [script] = scripts
            assert script.upgrade_ops is not None
            assert script.downgrade_ops is not None
            # What commits comes first: nothing else of the revision may stay if it fails then.
            at_once = [one for one in operations if getattr(one, "commits", False)]
            others = [one for one in operations if one not in at_once]
            script.upgrade_ops.ops = [*at_once, *renames, *others]
            script.downgrade_ops.ops = []  # there is no way back, and nothing to warn of in it
            done = [*renames, *self.found]
            self.effects = remark(migration.opts["revision_context"], done, self.before)

        written = self.made.write_revision(self.message, self.slug, finish, autogenerate=False)
        assert written is not None
        self.revision, self.path = written.revision, Path(written.path)

    def proved(self, *, anew: bool) -> Sides | MigrationError:
        """What it makes, beside what the models make; or how it fails.

        Args:
            anew: whether something was done to the replay already.
        """
        try:
            if anew:
                with replay(self.made.application, self.revision) as again:
                    return sides(again, self.wanted)
            self.made.upgrade(self.revision)
        except MigrationError as error:
            return error
        return sides(self.made, self.wanted)


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
