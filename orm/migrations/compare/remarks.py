"""What a new revision says of itself: what it would do to rows that are there."""

from collections.abc import Sequence
from textwrap import fill
from typing import Final

from alembic.autogenerate import RevisionContext
from alembic.operations.ops import MigrationScript

from orm.migrations.compare.effects import Effect, Kind, Tables, flat
from orm.migrations.compare.schema import Schema

__all__ = ["in_words", "remark"]

_SAID: Final[frozenset[Kind]] = frozenset(
    {
        "drop_table",
        "drop_column",
        "type",
        "not_null",
        "rename",
        "required_column",
        "changing_default",
    }
)
"""Of the other kinds only a review knows whether they matter: it knows how many rows there are."""


def remark(request: RevisionContext, script: MigrationScript, before: Schema) -> list[Effect]:
    """Have a revision name its effects in its docstring.

    Args:
        request: what the revision file is made from.
        script: what the revision will do.
        before: the tables that it meets.

    Returns:
        The effects.
    """
    assert script.upgrade_ops is not None
    found = [
        effect
        for effect in Tables(before).affected_by(flat(script.upgrade_ops.ops))
        if effect.kind in _SAID
    ]
    template: dict[str, object] = request.template_args  # type: ignore[assignment]
    template["remarks"] = in_words(found)
    return found


def in_words(found: Sequence[Effect]) -> str:
    """Effects as text of several lines; empty if there are none."""
    if not found:
        return ""
    points = (
        fill(f"- {effect.message}.", 88, subsequent_indent="  ", break_on_hyphens=False)
        for effect in found
    )
    return "\n".join(("Read before it is applied. It", *points)) + "\n"
