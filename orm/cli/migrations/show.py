"""``orm migrations show``: the SQL of a revision."""

import json
from collections.abc import Sequence

import click

from orm.cli.migrations.common import explained
from orm.cli.migrations.completion import revisions as typed_revisions
from orm.cli.root import application_here

__all__ = ["show"]


@click.command()
@click.argument("revision", shell_complete=typed_revisions)
@click.option(
    "--dialect",
    "dialects",
    multiple=True,
    help="The engine: sqlite, postgresql, mysql, mariadb, …; repeatable. By default the engine of "
    "the local database.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(revision: str, dialects: Sequence[str], as_json: bool) -> None:
    """Print the SQL of one revision; no database is needed, and none is changed.

    The SQL for SQLite depends on the tables before the revision, so the revisions are replayed in
    memory up to it.
    """
    with explained():
        from orm.migrations.compare.sql import statements_of
        from orm.migrations.files.line import findings_in_files, refuse, up_to
        from orm.migrations.files.revisions import read
        from orm.migrations.target import target_url

        application = application_here()
        if not dialects:
            dialects = (target_url("local", application.pyproject).get_backend_name(),)
        line = up_to(read(application.versions), revision)
        refuse(findings_in_files(line))
        file = line[-1]
        scripts = {dialect: statements_of(application, [file], dialect)[0] for dialect in dialects}
    if as_json:
        click.echo(json.dumps({"revision": file.id, "sql": scripts}, indent=2))
        return
    for dialect, script in scripts.items():
        if len(scripts) > 1:
            click.echo(f"-- {dialect}")
        click.echo(script.strip() or "-- nothing")
