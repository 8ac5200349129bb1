"""Revision files as Alembic's scripts, of which only those that are to run are loaded.

Alembic loads every file as soon as it is asked for any: all of a long history, to apply one more
revision.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from types import ModuleType

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import Revision as Node
from alembic.script.revision import RevisionMap

from orm.exceptions import ConfigurationError
from orm.migrations.files.revisions import Revision

__all__ = ["use"]


def use(files: Sequence[Revision], directory: ScriptDirectory) -> None:
    """Have Alembic find these revisions in a directory, and nothing else.

    Args:
        files: all that are there.
        directory: whose they are.

    Raises:
        ConfigurationError: it is configured to have others as well.
    """
    for setting in ("recursive_version_locations", "sourceless"):
        if getattr(directory, setting):
            raise ConfigurationError(
                f"{setting} is set, and revisions are source files in one folder: delete the "
                "setting"
            )
    directory.revision_map = RevisionMap(lambda: map(_Script, files))


class _Script(Script):
    """A script whose module is loaded by who first asks for it."""

    def __init__(self, file: Revision) -> None:
        Node.__init__(self, file.id, file.down)  # Script's own would ask the module for the two
        self.path = str(file.path)
        self._file = file

    @cached_property
    def module(self) -> ModuleType:  # type: ignore[override]
        module = ModuleType(re.sub(r"\W", "_", self._file.path.name))  # as Alembic calls it
        module.__file__ = self.path
        # What was read, and its checksum taken. Not bytecode that lies beside the file: that may
        # be of an earlier text, if it is as long and not a second older.
        exec(compile(self._file.text, self.path, "exec", dont_inherit=True), vars(module))
        return module
