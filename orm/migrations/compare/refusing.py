"""A revision that says what it lacks, and cannot be applied before that is written."""

import ast
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Final

from orm.migrations.compare.differences import Difference
from orm.migrations.compare.reading import NOT_WRITTEN

__all__ = ["refuse_in"]

_WIDTH: Final = 92


def refuse_in(path: Path, left: Sequence[Difference]) -> None:
    """Have a revision fail before it does anything, with a sentence for each difference left.

    Args:
        path: the file of a revision.
        left: what it does not write.
    """
    text = path.read_text("utf-8")
    upgrade = next(
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    lines = text.splitlines(keepends=True)
    at = upgrade.body[0].lineno - 1
    indent = lines[at][: upgrade.body[0].col_offset]
    subjects = dict.fromkeys(one.subject for one in left)  # two engines may lack the same
    code = [
        "# Write by hand what `create` did not, and delete this statement. Not written:",
        *(line for one in left for line in _remark(one.fact)),
        "raise RuntimeError(",
        f"    {NOT_WRITTEN + '; '.join(subjects)!r}",
        ")",
    ]
    lines[at:at] = [f"{indent}{line}\n" for line in code]
    path.write_text("".join(lines), "utf-8")


def _remark(fact: str) -> list[str]:
    return wrap(
        " ".join(fact.split()),
        _WIDTH,
        initial_indent="# - ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
