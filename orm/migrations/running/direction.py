"""What an Alembic command does to the database, and which ones are refused: history goes forward.

Alembic does not tell ``env.py`` which command runs, but it hands the context a function that is
local to that command: its qualified name is ``upgrade.<locals>.upgrade``, for instance.
"""

from contextlib import nullcontext
from typing import Final

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from orm.backends import Migrations

__all__ = ["command_name", "is_read_only", "keep_whole", "refuse_backward"]

_READ_ONLY: Final = frozenset({"check", "current", "edit", "history", "revision", "show"})


def command_name(migration: MigrationContext) -> str:
    """The Alembic command that the context was configured for, such as ``upgrade``."""
    return str(getattr(migration.opts.get("fn"), "__qualname__", "")).partition(".")[0]


def is_read_only(migration: MigrationContext) -> bool:
    """Whether the command has no business writing to the database."""
    return command_name(migration) in _READ_ONLY


_REFUSED: Final = {
    "downgrade": "migrations only go forward, nothing was changed. To undo a change of the schema, "
    "write a new revision that makes the opposite change; to get back data, restore a backup.",
    "stamp": "a stamp would have the database say what did not happen, nothing was changed. To "
    "adopt a database whose schema is there already: orm migrations baseline. To accept an applied "
    "file that has changed: orm migrations repair. To go back: write a new revision that makes the "
    "opposite change.",
    "merge": "history is one line, there is nothing to merge, nothing was changed. Let one branch "
    "follow the other: orm migrations renumber.",
}


def refuse_backward(migration: MigrationContext) -> None:
    """Refuse a command that leads backwards, or out of the line.

    Raises:
        CommandError: the command is ``downgrade``, ``stamp`` or ``merge``.
    """
    refusal = _REFUSED.get(command_name(migration))
    if refusal is not None:
        raise CommandError(refusal)


def keep_whole(migration: MigrationContext, migrations: Migrations) -> None:
    """Have a revision's ``autocommit_block`` stay in the transaction, where the engine allows it.

    It would commit what comes before it, and a revision that fails after that stays half done.
    """
    if migrations.all_ddl_is_transactional:
        migration.autocommit_block = nullcontext  # type: ignore[method-assign, assignment]
