"""``create``: the next revision, which makes what the models have and the revisions do not."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orm.backends import Thing, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare import renames as renaming
from orm.migrations.compare.amending import newest_to_amend, set_aside
from orm.migrations.compare.completing import complete
from orm.migrations.compare.configuration import remark
from orm.migrations.compare.differences import Difference, of_forms, of_models, on_engines
from orm.migrations.compare.effects import Effect, Schema, schema_of
from orm.migrations.compare.layout import lay_out
from orm.migrations.compare.merging import merged
from orm.migrations.compare.models import Sides, sides, with_models
from orm.migrations.compare.naming import message_of, slug_of
from orm.migrations.compare.ordering import ordered
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.explain import cause_of
from orm.migrations.files import line
from orm.migrations.files.lock import locked
from orm.migrations.files.revisions import read
from orm.migrations.revision import Revision
from orm.migrations.target import engine_urls

__all__ = ["Choose", "Created", "Draft", "amend", "create", "follow"]

_REMARKS: Final = re.compile(r"^ *# ### .*\n", re.MULTILINE)
"""Alembic's comments, which say of an empty revision that commands were generated."""

Choose = Callable[[Sequence[MigrateOperation], Connection], Sequence[Rename]]
"""Given what autogenerate found in a database, returns what of it are renames."""


@dataclass(frozen=True, slots=True)
class Created:
    """A revision file that was written.

    Attributes:
        revision: its number.
        path: the file.
        effects: what it would do to existing rows.
        left: what the models have and it does not make; it fails before that is written by hand.
        notes: sentences on what an engine makes of it, and on the revision in whose place it is.
    """

    revision: str
    path: Path
    effects: Sequence[Effect]
    left: Sequence[Difference] = ()
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "revision": self.revision,
            "path": str(self.path),
            "effects": [asdict(effect) for effect in self.effects],
            "left": [{"subject": one.subject, "message": one.fact} for one in self.left],
            "notes": list(self.notes),
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
    message, slug = message_of(name), slug_of(name)
    application.versions.mkdir(exist_ok=True)  # Git does not keep an empty folder
    with locked(application.versions):
        files = read(application.versions)
        line.refuse(line.findings_in_files(files))
        if choose is not None:
            return _follow(application, files, message, slug, choose)
        with replay(application, files[-1].id if files else None) as made:
            written = made.write_revision(message, slug, _nothing, autogenerate=False)
            assert written is not None
            path = Path(written.path)
            path.write_text(_REMARKS.sub("", path.read_text("utf-8")), "utf-8")
            return Created(written.revision, path, [])


def amend(application: Application, name: str | None, *, choose: Choose) -> Created:
    """Write the newest revision anew, from the models as they are now.

    No database is changed. The old text stays, under another name.

    Args:
        application: whose newest revision.
        name: what it is about; None: what it was about before.
        choose: finds the renames.

    Raises:
        ConfigurationError: as `create`.
        MigrationError: as `create`. Or it may not be written anew (`newest_to_amend`), or is not
            needed any more; nothing was changed.
    """
    application.versions.mkdir(exist_ok=True)
    with locked(application.versions):
        files = read(application.versions)
        line.refuse(line.findings_in_files(files))
        newest, notes = newest_to_amend(application, files)
        slug = newest.name.partition("_")[2] if name is None else slug_of(name)
        message = message_of(newest.message or slug if name is None else name)
        with set_aside(newest) as kept:
            made = _follow(application, files[:-1], message, slug, choose)
        if made is None:
            raise MigrationError(
                f"the revisions before {newest.name} make what the models say, so that "
                f"{newest.path} is not needed for them. Nothing was changed: delete it, if nothing "
                "in it was written by hand"
            )
        stays = f"The old text stays in {kept}, with all that was written in it by hand."
        return replace(made, notes=[stays, *notes, *made.notes])


def _follow(
    application: Application, files: Sequence[Revision], message: str, slug: str, choose: Choose
) -> Created | None:
    """Write the revision that follows some, and have it fail if it does not make all."""
    last = files[-1].id if files else None
    with ExitStack() as stack:
        each = [
            Draft.begun(
                *stack.enter_context(with_models(application, last, url=url)), message, slug
            )
            for url in engine_urls(application.pyproject).values()
        ]
        created = follow(each, choose)
        if created is not None:
            if created.left:
                refuse_in(created.path, created.left)
            lay_out(created.path)
        return created


def _nothing(*_: object) -> None:
    """Have Alembic write what it found."""


def follow(drafts: Sequence["Draft"], choose: Choose) -> Created | None:
    """Write the revision that follows the models.

    Args:
        drafts: of each engine, that of the local one first.
        choose: finds the renames.

    Returns:
        The revision; None if the revisions make what the models say.

    Raises:
        MigrationError: it was written, and does not run.
    """
    asked = next((draft for draft in drafts if not draft.both.agree), drafts[0])
    first = choose(asked.found, asked.made.connection)
    if all(draft.both.agree for draft in drafts):
        return None
    texts: dict[str, str] = {}
    left: list[Difference] = []
    for draft in drafts:
        draft.rename(first)
        left += draft.completed()
        texts[draft.engine] = draft.path.read_text("utf-8")
        if len(drafts) > 1:
            draft.path.unlink()
    main = drafts[0]
    if len(drafts) > 1:
        main.path.write_text(merged(texts), "utf-8")
        left = _left(drafts)
    notes = [note for draft in drafts for note in draft.surprises]
    return Created(main.revision, main.path, main.effects, left, list(dict.fromkeys(notes)))


def _left(drafts: Sequence["Draft"]) -> list[Difference]:
    """What a revision that was merged does not make, on each engine."""
    left: dict[Difference, list[str]] = {}
    for draft in drafts:
        for difference in draft.left_after(draft.proved(anew=True)):
            left.setdefault(difference, []).append(draft.engine)
    return [on_engines(one, engines, len(drafts)) for one, engines in left.items()]


@dataclass
class Draft:
    """A revision that is written anew until it makes on one engine what the models say.

    Attributes:
        made: the revisions before it, replayed.
        message: the first line of its docstring.
        slug: of its file's name.
        wanted: what the models make.
        both: what is there, and what the models make.
        before: the tables that it meets.
        found: what Alembic has found for it to do.
        renames: what it does first.
        effects: what it does to rows.
        path: its file.
        revision: its number.
    """

    made: Replay
    message: str
    slug: str
    wanted: Mapping[Thing, str]
    both: Sides
    before: Schema
    found: Sequence[MigrateOperation] = ()
    renames: Sequence[Rename] = ()
    effects: list[Effect] = field(default_factory=list)
    path: Path = Path()
    revision: str = ""

    @classmethod
    def begun(cls, made: Replay, wanted: Mapping[Thing, str], message: str, slug: str) -> Self:
        """A draft of which nothing is written yet."""
        both = sides(made, wanted)
        made.types = frozenset(thing.name for thing in both.revisions if thing.kind == "type")
        made.defaults_differ = both.defaults_differ
        found = made.compare() if both.left else []
        return cls(made, message, slug, wanted, both, schema_of(made.connection), found)

    @property
    def engine(self) -> str:
        """SQLAlchemy's name of its engine."""
        return self.made.connection.dialect.name

    @property
    def surprises(self) -> Sequence[str]:
        """What its engine does with the models that their author may not expect."""
        old, new = self.both.revisions, self.both.models
        made = {thing: said for thing, said in new.items() if old.get(thing) != said}
        return migrations_for(self.made.connection.engine.url).surprises(made)

    def rename(self, renames: Sequence[Rename]) -> None:
        """Do the renames first."""
        if not renames:
            return
        self.renames = renames
        renaming.apply(renames, self.made.connection)
        self.both = sides(self.made, self.wanted, self._renamed)
        self.made.defaults_differ = self.both.defaults_differ
        self.found = self.made.compare()

    @property
    def _renamed(self) -> Mapping[str, Collection[str]]:
        """The old names, by the tables as they are called after the renames."""
        found: dict[str, set[str]] = {}
        for rename in self.renames:
            found.setdefault(rename.table or rename.new, set()).add(rename.old)
        return found

    def completed(self) -> list[Difference]:
        """Write what Alembic has found; in its place what the backend knows, if that does not do.

        Returns:
            What the revision that stays does not make.

        Raises:
            MigrationError: it does not run; its file stays.
        """
        migrations = migrations_for(self.made.connection.engine.url)
        definitions, models = (self.both.revisions, self.both.models), self.made.metadata
        self.found = ordered(complete(self.found, self.both, models), models)
        first: Sides | MigrationError = self.both
        operations = migrations.adapted(self.found, definitions, models)
        if operations is not None:
            self.write(operations)
            first = self.proved(anew=bool(self.renames))
            if isinstance(first, Sides) and not first.left:
                return self.left_after(first)
        left = self.both.left if isinstance(first, MigrationError) else first.left
        so_far = self.found if operations is None else operations
        better = migrations.operations_for(left, so_far, definitions, models)
        if better is not None:
            self.write(better)
            second = self.proved(anew=True)
            if operations is None or isinstance(second, Sides) or isinstance(first, MigrationError):
                return self.left_after(second)
        if better is not None or operations is None:
            self.write(operations or ())
        return self.left_after(first)

    def left_after(self, after: Sides | MigrationError) -> list[Difference]:
        """What the revision does not make.

        Args:
            after: what it has made (`proved`); or how it fails.

        Raises:
            MigrationError: it fails, and not by what it asks of the database; its file stays.
        """
        if isinstance(after, Sides):
            return [*of_models(after), *of_forms(self.both)]
        if isinstance(after.__cause__, DBAPIError):
            # No statement is known to make it: what was tried may help who writes it by hand.
            cause = " ".join(cause_of(after.__cause__).split())
            fails = Difference("model", "what fails", f"what follows fails: {cause}")
            return [*of_models(self.both), *of_forms(self.both), fails]
        raise MigrationError(
            f"{self.revision} was written, and does not run: correct the file, or delete it and "
            f"create it anew. {after}"
        ) from after

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
            in_words = [like for one in operations for like in getattr(one, "stands_for", ())]
            done = [*renames, *self.found, *in_words]
            self.effects = remark(
                migration.opts["revision_context"], done, self.before, self.both.remade
            )

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
                application, url, beside = self.made.application, self.made.url, self.made.beside
                with replay(application, self.revision, url=url, beside=beside) as again:
                    return sides(again, self.wanted, self._renamed)
            self.made.upgrade(self.revision)
        except MigrationError as error:
            return error
        return sides(self.made, self.wanted)
