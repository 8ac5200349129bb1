"""A revision that is written, tried in a scratch database, and written anew if it does not do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy.exc import DBAPIError

from orm.backends import Thing, migrations_for
from orm.exceptions import MigrationError
from orm.migrations.compare import renames as renaming
from orm.migrations.compare.completing import complete
from orm.migrations.compare.configuration import remark
from orm.migrations.compare.differences import Difference, of_broken, of_forms, of_models
from orm.migrations.compare.effects import Catalog, Effect, catalog_of
from orm.migrations.compare.models import Sides, sides
from orm.migrations.compare.ordering import ordered
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import Replay, replay
from orm.migrations.explain import cause_of

__all__ = ["Draft"]


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
    before: Catalog
    found: Sequence[MigrateOperation] = ()
    renames: Sequence[Rename] = ()
    effects: list[Effect] = field(default_factory=list)
    path: Path = Path()
    revision: str = ""

    @classmethod
    def begun(cls, made: Replay, wanted: Mapping[Thing, str], message: str, slug: str) -> Self:
        """A draft of which nothing is written yet."""
        both = sides(made, wanted)
        made.types = frozenset(
            thing.name for thing in both.revisions if thing.kind in ("type", "domain")
        )
        made.defaults_differ = both.defaults_differ
        made.schemas = frozenset(thing.table.rpartition(".")[0] for thing in both.revisions)
        found = made.compare() if both.left else []
        before = catalog_of(made.connection, made.schemas)
        return cls(made, message, slug, wanted, both, before, found)

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
        """Do renames first, after those that it does already."""
        self.renames = [*self.renames, *renames]
        renaming.apply(renames, self.made.connection)
        before = self.both.broken  # the renames have been done by now
        self.both = replace(sides(self.made, self.wanted, self._renamed), broken=before)
        self.made.defaults_differ = self.both.defaults_differ
        self.found = self.made.compare()

    @property
    def _renamed(self) -> Mapping[str, Collection[str]]:
        """The old names, by the tables as they are called after the renames."""
        found: dict[str, set[str]] = {}
        for rename in self.renames:
            found.setdefault(rename.renamed_table, set()).add(rename.old)
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
            newly = after.broken - self.both.broken
            return [*of_models(after), *of_forms(self.both), *of_broken(newly)]
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
            request = migration.opts["revision_context"]
            lexer = migrations_for(self.made.connection.engine.url).lexer
            self.effects = remark(request, done, self.before, lexer, self.both.remade)

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
