"""Revision files as Alembic's scripts, of which only those that are to run are loaded.

Alembic loads every file as soon as it is asked for one: all of a long history, to apply one more
revision.
"""

import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap

from orm.exceptions import ConfigurationError
from orm.migrations.revision import Revision

__all__ = ["module_of", "use"]


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
        lambda: (Script(_Lazy(file), file.id, file.path) for file in files)
    )


def module_of(file: Revision) -> ModuleType:
    """The module of a revision; its file runs when something is asked of it."""
    return _Lazy(file)


class _Lazy(ModuleType):
    """A revision's module, which runs its file when something first asks for what is in it."""

    def __init__(self, file: Revision) -> None:
        super().__init__(re.sub(r"\W", "_", file.path.name), file.message)  # as Alembic calls it
        # What Alembic asks of every script, to put them into order.
        vars(self).update(
            {
                "__file__": str(file.path),
                "revision": file.id,
                "down_revision": file.down,
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
