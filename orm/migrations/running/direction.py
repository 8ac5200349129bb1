"""Which Alembic commands are refused, and which only read: history goes forward."""

from typing import Final

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from orm.migrations.files.line import command_line
from orm.migrations.internals import command_name

__all__ = ["is_read_only", "refuse_backward"]

_READ_ONLY: Final = frozenset({"check", "current", "edit", "history", "revision", "show"})
_REFUSED: Final = {
    "downgrade": "migrations only go forward, nothing was changed. To undo a change of the schema, "
    "write a new revision that makes the opposite change; to get back data, restore a backup.",
    "stamp": "a stamp would make the database say what did not happen, nothing was changed. To "
    "adopt a database that has its schema already: "
    f"{command_line('baseline REVISION')}. To accept an applied file that has "
    f"changed: {command_line('repair REVISION --reason WHY')}. To go back: write a new revision "
    "that makes the opposite change.",
    "merge": "history is one line, there is nothing to merge, nothing was changed. To make one "
    f"branch follow the other: {command_line('renumber')}.",
}


def is_read_only(migration: MigrationContext) -> bool:
    """Whether a context was configured for a command that does not write to the database."""
    return command_name(migration) in _READ_ONLY


def refuse_backward(migration: MigrationContext) -> None:
    """Refuse a command that leads backwards, or out of the line.

    Raises:
        CommandError: the command is ``downgrade``, ``stamp`` or ``merge``.
    """
    refusal = _REFUSED.get(command_name(migration))
    if refusal is not None:
        raise CommandError(refusal)
