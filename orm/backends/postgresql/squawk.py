"""Squawk, a linter of PostgreSQL migrations, where it is installed (the extra ``lint``)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Final

__all__ = ["lint"]

_NOT_ASKED: Final = (
    # A migration here has one already, and is in one transaction.
    "require-lock-timeout",
    "require-statement-timeout",
    # Alembic's autocommit_block ends the transaction, and begins one that ends after the script.
    "ban-uncommitted-transaction",
    "transaction-nesting",
    # About taste, and not about what happens to others while it runs.
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
)

_LONGEST: Final = 100
"""Characters of a statement that are shown."""


def lint(sql: str) -> Sequence[str] | None:
    """What Squawk says to a script that runs in one transaction.

    Returns:
        For each finding its statement and a sentence, each once; None if Squawk is not installed.

    Raises:
        OSError, subprocess.CalledProcessError: it cannot be run.
    """
    beside = str(Path(sys.executable).parent)  # a virtual environment need not be activated
    squawk = shutil.which("squawk", path=os.pathsep.join((beside, os.environ.get("PATH", ""))))
    if squawk is None:
        return None
    command = [squawk, "--reporter", "json", "--assume-in-transaction", "--stdin-filepath", "sql"]
    for rule in _NOT_ASKED:
        command += ("--exclude", rule)
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: there are findings
        done.check_returncode()
    found = json.loads(done.stdout or "[]")
    said = (
        f"{_statement(sql, one['line'])}: {one['message']} {one['help'] or ''} ({one['rule_name']})"
        for one in found
    )
    return list(dict.fromkeys(said))


def _statement(sql: str, line: int) -> str:
    """The beginning of the statement in a line of a script, with an empty line between any two."""
    lines = sql.split("\n")  # as Squawk counts them
    first = last = line
    while first > 0 and lines[first - 1].strip():
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip():
        last += 1
    return shorten(" ".join(lines[first : last + 1]).rstrip("; "), _LONGEST, placeholder=" …")
