"""A revision that says what it lacks, and cannot be applied before that is written."""

import ast
from collections.abc import Sequence
from pathlib import Path

from orm.migrations.compare.differences import Difference

__all__ = ["refuse_in"]


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
        *(f"# - {' '.join(one.fact.split())}" for one in left),
        "raise RuntimeError(",
        f"    {'not written yet: ' + '; '.join(subjects)!r}",
        ")",
    ]
    lines[at:at] = [f"{indent}{line}\n" for line in code]
    path.write_text("".join(lines), "utf-8")
