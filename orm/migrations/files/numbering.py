"""Revisions are numbered: ``0001``, ``0002``, … in one line."""

from typing import Final

from alembic.autogenerate import RevisionContext
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from orm.migrations.compare.remarks import in_words, remark
from orm.migrations.compare.schema import schema_of
from orm.migrations.running.direction import command_name

__all__ = ["number"]

_REFUSED: Final = {
    "rev_id": "--rev-id",
    "splice": "--splice",
    "branch_label": "--branch-label",
    "depends_on": "--depends-on",
}


def number(migration: MigrationContext, _: object, scripts: list[MigrationScript]) -> None:
    """Give new revisions their numbers; make none when autogenerate found nothing to do.

    A ``process_revision_directives`` hook of Alembic, which needs ``revision_environment`` to be
    called for ``alembic revision`` without ``--autogenerate`` too.

    Raises:
        CommandError: an option asks for something else than the next number in line.
    """
    if command_name(migration) == "check":  # compares only, and wants its directives back
        return
    request: RevisionContext = migration.opts["revision_context"]
    arguments = request.command_args
    refused = [option for name, option in _REFUSED.items() if arguments[name]]
    if arguments["head"] not in (None, "head"):
        refused.append("--head")
    if refused:
        raise CommandError(
            f"revisions are numbered and follow each other in one line: leave out "
            f"{', '.join(refused)}"
        )
    if arguments["autogenerate"] and all(_is_empty(script) for script in scripts):
        scripts.clear()
        request.config.print_stdout("The database matches the models: no revision was written.")
    if "remarks" not in request.template_args and migration.connection is not None:
        before = schema_of(migration.connection) if scripts else {}
        for script in scripts:
            request.config.print_stdout(in_words(remark(request, script, before)))
    first = _next_number(request.script_directory)
    for offset, script in enumerate(scripts):
        script.rev_id = f"{first + offset:04d}"


def _is_empty(script: MigrationScript) -> bool:
    return all(operations.is_empty() for operations in script.upgrade_ops_list)


def _next_number(directory: ScriptDirectory) -> int:
    numbers = (int(s.revision) for s in directory.walk_revisions() if s.revision.isdecimal())
    return max(numbers, default=0) + 1
