"""Revision files as Alembic's scripts, of which only those that are to run are loaded.

Alembic loads every file as soon as it is asked for one: all of a long history, to apply one more
revision.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap

from orm.exceptions import ConfigurationError
from orm.migrations.revision import Revision

__all__ = ["module_of", "use"]

_ELSEWHERE: Final = "def upgrade() -> None:\n    raise NotImplementedError\n"


def use(files: Sequence[Revision], directory: ScriptDirectory) -> None:
    """Have Alembic find these revisions in a directory, and nothing else.

    Args:
        files: all revisions of the directory.
        directory: Alembic's.

    Raises:
        ConfigurationError: the directory is configured to have others as well.
    """
    for setting in ("recursive_version_locations", "sourceless"):
        if getattr(directory, setting):
            raise ConfigurationError(
                f"{setting} is set, and revisions are source files in one folder: delete the "
                "setting"
            )
    directory.revision_map = RevisionMap(
        lambda: (
            Script(_Lazy(one, down), one.id, one.path)
            for file in files
            for one, down in _with_history(file)
        )
    )


def module_of(file: Revision) -> ModuleType:
    """The module of a revision; its file runs when something is asked of it."""
    return _Lazy(file, file.down)


def _with_history(file: Revision) -> Iterator[tuple[Revision, str | tuple[str, ...] | None]]:
    """A revision with what it follows, after stand-ins for what is not among the files."""
    if not file.only_recorded or file.down is not None:
        yield file, file.down
        return
    for end in file.replaces:
        yield replace(file, id=end, text=_ELSEWHERE), None
    yield file, file.replaces


class _Lazy(ModuleType):
    """A revision's module, which runs its file when something first asks for what is in it."""

    def __init__(self, file: Revision, down: str | tuple[str, ...] | None) -> None:
        super().__init__(re.sub(r"\W", "_", file.path.name), file.message)  # as Alembic calls it
        # What Alembic asks of every script, to put them into order.
        vars(self).update(
            {
                "__file__": str(file.path),
                "revision": file.id,
                "down_revision": down,
                "branch_labels": None,
                "depends_on": None,
                "_source": file.text,
            }
        )

    def __getattr__(self, name: str) -> Any:  # what is in the file, before the file has run
        source = self.__dict__.pop("_source", None)
        if source is None:
            raise AttributeError(f"{self.__file__} has no {name}")
        # What was read, and its checksum taken. Not bytecode that lies beside the file: that may
        # be of an earlier text, if it is as long and not a second older.
        exec(compile(source, str(self.__file__), "exec", dont_inherit=True), vars(self))
        return getattr(self, name)
