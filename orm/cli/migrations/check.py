"""``orm migrations check``: whether models, revisions and a database say the same."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orm.cli.migrations.common import explained
from orm.cli.root import application_here, from_here

if TYPE_CHECKING:
    from orm.migrations.application import Application
    from orm.migrations.compare.differences import Difference
    from orm.migrations.files.line import Finding

__all__ = ["check"]

_NAMED: Final = 20
"""Foreign keys that are named; an adopted project may have hundreds without an index."""


@click.command()
@click.option("--local", is_flag=True, help="Also the local database of this checkout.")
@click.option("--remote", is_flag=True, help="Also the database that ORM_REMOTE_URL names.")
@click.option(
    "--wrangler",
    "folder",
    type=click.Path(path_type=Path),
    callback=from_here,
    metavar="DIR",
    help="Also the folder of wrangler's migrations, for Cloudflare's D1.",
)
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=from_here,
    metavar="FILE",
    help="With --wrangler: also what `wrangler d1 export --no-data` has written.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(
    local: bool, remote: bool, folder: Path | None, schema: Path | None, as_json: bool
) -> None:
    """Check that models, revisions and, if asked, a database say the same; changes nothing.

    Without a target no database is needed: the revisions are one line of history, they make what
    the models say, and every foreign key has an index. With a target, its ledger agrees with the
    files too, and its schema was not changed by hand. With --wrangler, each revision has its
    file, and both are as they were exported. Exits with 1 if something differs. What a
    linter of the engine says of pending revisions is only a note.
    """
    if local and remote:
        raise click.UsageError("give at most one of --local and --remote")
    if schema is not None and folder is None:
        raise click.UsageError("--schema is checked with --wrangler DIR: add it")
    with explained():
        from orm.migrations.compare.checking import check_database, check_files, lint_pending

        application = application_here()
        target = "local" if local else "remote" if remote else None
        found = check_files(application, target)
        said: list[str] = []
        if target is not None:
            # Both checks find what is wrong with the files alone: it is printed once.
            if not found:
                said = lint_pending(application, target)
            found += [f for f in check_database(application, target) if f not in found]
        if folder is not None:
            from orm.migrations.wrangler.exporting import check_folder

            found += check_folder(application, folder, schema)
    if as_json:
        notes = [{"kind": "note", "message": sentence} for sentence in said]
        click.echo(json.dumps([*map(asdict, found), *notes], indent=2))
    else:
        for one in found:
            if one.kind != "foreign_key":
                click.echo(one.message, err=True)
        if bare := [one for one in found if one.kind == "foreign_key"]:
            click.echo(_without_index(bare), err=True)
        for sentence in said:
            click.echo(f"Note: {sentence}", err=True)
        if target is not None and any(one.kind == "drift" for one in found):
            click.echo(_ways_out(application, target), err=True)
        if not found:
            click.echo("All is well.")
    if found:
        raise click.exceptions.Exit(1)


def _ways_out(application: "Application", target: str) -> str:
    """What to do about a database that was changed by hand."""
    from orm.migrations.files.line import command_line
    from orm.migrations.files.numbers import next_number
    from orm.migrations.files.revisions import read

    number = f"{next_number(file.id for file in read(application.versions)):04d}"
    anew = f", or begin it anew, with {command_line('reset', 'local')}" if target == "local" else ""
    return (
        f"To take such a change back, change the database by hand{anew}. To keep it, have the "
        'models make it, write the revision, with orm migrations create "as the database is", and '
        f"record it without running it, with {command_line(f'baseline {number}', target)}."
    )


def _without_index(found: "Sequence[Finding | Difference]") -> str:
    """All foreign keys without an index in one sentence; --json names each."""
    names = ", ".join(getattr(one, "subject", "") for one in found[:_NAMED])
    if len(found) > _NAMED:
        names += f", and {len(found) - _NAMED} more (--json names each)"
    return (
        f"{len(found)} foreign key(s) without an index that begins with them, so that each delete "
        f"of a parent row reads the whole table: {names}. "
        "orm.Base adds such indexes to the models. To do without: index_foreign_keys = false under "
        "[tool.orm] in pyproject.toml; for one table, "
        '__table_args__ = {"info": {"index_foreign_keys": False}}'
    )
