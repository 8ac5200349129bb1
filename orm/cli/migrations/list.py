"""``orm migrations list``: what is applied, and what is pending."""

import json
from typing import TYPE_CHECKING, Any

import click

from orm.cli.migrations.common import Target, explained
from orm.cli.root import application_here
from orm.cli.target import target_options

if TYPE_CHECKING:
    from orm.migrations.ledger.state import State

__all__ = ["list_"]


@click.command("list")
@target_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(target: Target, as_json: bool) -> None:
    """Show which revisions are applied and which are pending; changes nothing.

    Exits with 1 if files, ledger and database do not agree, or a revision is half done.
    """
    with explained():
        from orm.migrations.ledger.state import look

        state = look(application_here(), target)
    rows = _rows(state)
    found = [*state.findings, *([state.resumes] if state.resumes else ())]
    if as_json:
        findings = [
            {"kind": finding.kind, "revision": finding.revision, "message": finding.message}
            for finding in found
        ]
        click.echo(json.dumps({"revisions": rows, "findings": findings}, indent=2))
    else:
        width = max((len(row["name"]) for row in rows), default=0)
        click.echo("".join(f"{_line(row, width)}\n" for row in rows) or "No revisions.\n", nl=False)
        for finding in found:
            click.echo(f"! {finding.message}", err=True)
    if found:
        raise click.exceptions.Exit(1)


def _rows(state: "State") -> list[dict[str, Any]]:
    """All revisions in order: the applied ones from the ledger, then the pending ones."""
    messages = {file.name: file.message for file in state.files}
    applied = [
        {
            "revision": row.revision,
            "name": row.name,
            "message": messages.get(row.name),
            "state": "applied",
            "applied_at": row.applied_at.isoformat(),
            "seconds": row.seconds,
            "bookmark": row.bookmark,
            "note": row.note,
        }
        for row in state.applied
    ]
    pending = [
        {
            "revision": file.id,
            "name": file.name,
            "message": file.message,
            "state": "half done" if file.id in state.half_done else "pending",
            "replaces": file.replaces,
            "recorded": file.only_recorded,
        }
        for file in state.pending()
    ]
    return applied + pending


def _line(row: dict[str, Any], width: int) -> str:
    if row["state"] != "applied":
        how = " (recorded, and not run, if the schema is the same)" if row["recorded"] else ""
        return f"{row['name']:<{width}}  {row['state']}{how}"
    line = f"{row['name']:<{width}}  applied {row['applied_at'][:16].replace('T', ' ')} UTC"
    if row["seconds"] is not None:
        line += f", {row['seconds']:.2f} s"
    if row["note"] is not None:
        line += "".join(f"\n{'':{width}}  {note}" for note in row["note"].splitlines())
    return line
