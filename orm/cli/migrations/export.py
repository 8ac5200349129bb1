"""``orm migrations export``: the revisions as files of another tool."""

import json
from pathlib import Path

import click

from orm.cli.migrations.common import explained
from orm.cli.migrations.completion import revisions as typed_revisions
from orm.cli.root import application_here, from_here

__all__ = ["export"]


@click.command()
@click.option(
    "--wrangler",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    callback=from_here,
    metavar="DIR",
    help="The folder of wrangler's migrations, for Cloudflare's D1.",
)
@click.option(
    "--baseline",
    metavar="REVISION",
    shell_complete=typed_revisions,
    help="The databases have the schema of this revision already: the files up to it do nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def export(folder: Path, baseline: str | None, as_json: bool) -> None:
    """Write a numbered file with SQL for each revision that has none yet.

    No database is needed, and none is changed. A file that is there is never written again: if it
    or its revision has changed, nothing is written, and the command ends with 1.
    """
    with explained():
        from orm.migrations.wrangler.exporting import export as export_

        done = export_(application_here(), folder, baseline=baseline)
    if as_json:
        said = {
            "new": [str(path) for path in done.new],
            "kept": done.kept,
            "remarks": list(done.remarks),
        }
        click.echo(json.dumps(said, indent=2))
        return
    for path in done.new:
        click.echo(f"new: {path}")
    for remark in done.remarks:
        click.echo(f"Note: {remark}", err=True)
    if not done.new:
        click.echo(f"Nothing new: each revision has its file in {folder}.")
