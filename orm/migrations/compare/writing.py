"""``create``: the next revision, which makes what the models have and the revisions do not."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from alembic.operations.ops import MigrateOperation
from sqlalchemy import Connection

from orm.exceptions import MigrationError
from orm.migrations.application import Application
from orm.migrations.compare.amending import newest_to_amend, set_aside
from orm.migrations.compare.differences import Difference, on_engines
from orm.migrations.compare.draft import Draft
from orm.migrations.compare.effects import Effect
from orm.migrations.compare.layout import lay_out
from orm.migrations.compare.merging import merged
from orm.migrations.compare.models import with_models
from orm.migrations.compare.naming import message_of, slug_of
from orm.migrations.compare.refusing import refuse_in
from orm.migrations.compare.renames import Rename
from orm.migrations.compare.replay import replay
from orm.migrations.files import line
from orm.migrations.files.lock import locked
from orm.migrations.files.revisions import read
from orm.migrations.revision import Revision
from orm.migrations.target import engine_urls

__all__ = ["Choose", "Created", "amend", "create", "follow"]

_REMARKS: Final = re.compile(r"^ *# ### .*\n", re.MULTILINE)
"""Alembic's comments, which say of an empty revision that commands were generated."""

Choose = Callable[[Sequence[MigrateOperation], Connection], Sequence[Rename]]
"""Given what autogenerate found in a database, returns what of it are renames. It is asked again
after they were made, until there are none."""


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
        if created is None or each[0].made.metadata.tables:
            return created
        none = (  # it drops what the revisions have made
            "The models hold no table: let "
            f"{application.versions.with_name('env.py')} import the modules that define them"
        )
        return replace(created, notes=[*created.notes, none])


def _nothing(*_: object) -> None:
    """Have Alembic write what it found."""


def follow(drafts: Sequence[Draft], choose: Choose) -> Created | None:
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
    is_done = all(draft.both.agree for draft in drafts)
    while renames := choose(asked.found, asked.made.connection):
        for draft in drafts:
            draft.rename(renames)
    if is_done:
        return None
    texts: dict[str, str] = {}
    left: list[Difference] = []
    for draft in drafts:
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


def _left(drafts: Sequence[Draft]) -> list[Difference]:
    """What a revision that was merged does not make, on each engine."""
    left: dict[Difference, list[str]] = {}
    for draft in drafts:
        for difference in draft.left_after(draft.proved(anew=True)):
            left.setdefault(difference, []).append(draft.engine)
    return [on_engines(one, engines, len(drafts)) for one, engines in left.items()]
