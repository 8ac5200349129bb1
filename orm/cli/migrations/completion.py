"""Completion in a shell: the revisions of the checkout."""

import click
from click.shell_completion import CompletionItem

from orm.cli.root import application_here

__all__ = ["revisions"]


def revisions(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """The revisions that begin with what is typed, with their messages; no database is asked.

    Args:
        context: of the command that is typed.
        parameter: the argument or option that takes the revision, or several.
        incomplete: what is typed of it.
    """
    from orm.exceptions import OrmError
    from orm.migrations.files.revisions import read

    try:
        files = read(application_here().versions)
    except (OrmError, OSError):
        return []  # the command itself will say why; text in the middle of typing helps little
    given = context.params.get(parameter.name or "") or ()
    return [
        CompletionItem(file.id, help=file.message or None)
        for file in files
        if file.id.startswith(incomplete) and not (parameter.nargs == -1 and file.id in given)
    ]
