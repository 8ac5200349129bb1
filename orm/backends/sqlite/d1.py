"""Cloudflare's D1: SQLite with limits, all of them in one place.

What is here was tried on a local D1 (wrangler 4.164.0, workerd 1.20261117.1, SQLite 3.54) in
November 2026. D1's documentation has the numbers under "Limits".
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from orm.backends.sqlite.tokens import OPAQUE

__all__ = ["Rules", "in_one_line", "remarks"]

LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_COLUMN: (100, "columns in a table, an index or a result"),
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: (5, "terms in a compound SELECT"),
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: (100, "levels in an expression"),
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: (50, "bytes in a pattern of LIKE or GLOB"),
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: (100_000, "bytes in a statement"),
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: (100, "parameters in a statement"),
}
"""What is counted, by SQLite's number for it. The values of a script are no parameters."""

REFUSED: Final = {
    sqlite3.SQLITE_ATTACH: "ATTACH and VACUUM",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_TRANSACTION: "BEGIN, COMMIT and ROLLBACK",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT",
    sqlite3.SQLITE_CREATE_TEMP_TABLE: "TEMP tables",
    sqlite3.SQLITE_CREATE_TEMP_VIEW: "TEMP views",
    sqlite3.SQLITE_CREATE_TEMP_INDEX: "TEMP indexes",
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "TEMP triggers",
}
"""Statements that D1 refuses, by what SQLite asks an authorizer for."""

PRAGMAS: Final = frozenset(
    "case_sensitive_like data_version defer_foreign_keys foreign_key_check foreign_key_list "
    "foreign_keys ignore_check_constraints index_info index_list index_xinfo legacy_alter_table "
    "optimize quick_check recursive_triggers reverse_unordered_selects table_info table_list "
    "table_xinfo".split()
)
"""The pragmas that D1 knows; it refuses all others."""

WITHOUT_EFFECT: Final = frozenset({"foreign_keys"})
"""Those of them that change nothing: foreign keys are always on."""

FUNCTIONS: Final = frozenset(
    "fts5_source_id load_extension sqlite_source_id sqlite_version".split()
)
"""The functions of SQLite that D1 refuses."""

NOT_ALTERED: Final = re.compile(
    r"ALTER\s+TABLE\s.*\s(?:(?:SET|DROP)\s+NOT\s+NULL|(?:ADD|DROP)\s+CONSTRAINT)\b",
    re.IGNORECASE | re.DOTALL,
)
"""What SQLite 3.53 and later can alter without a rebuild, and D1 refuses."""

MODULES: Final = frozenset({"fts5", "fts5vocab", "rtree"})
"""The kinds of virtual tables that were tried."""

RESERVED: Final = "_cf_"
"""What no name of a table begins with but those of D1's own."""

WRANGLER_CUTS: Final = "BEGIN TRANSACTION"
"""Where a file has this, also in a value, wrangler takes it out, and the next ``COMMIT;``."""

_LONGEST: Final = 100
"""Characters of a statement that a message shows."""
_TRIGGER: Final = re.compile(r"CREATE\s+TRIGGER\b", re.IGNORECASE)
_PART: Final = re.compile(
    rf"(?P<opaque>{OPAQUE})|(?P<word>\w+)|(?P<space>\s+)|.", re.VERBOSE | re.DOTALL
)


class Rules:
    """A database in memory under D1's rules, without rows."""

    def __init__(self, before: sqlite3.Connection) -> None:
        """Begin with the schema of another database."""
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        before.backup(self._database)
        self._database.execute("BEGIN")  # as D1 does for each file
        self._usual = {limit: self._database.getlimit(limit) for limit in LIMITS}
        self._denied: list[str] = []
        self._database.set_authorizer(self._authorize)

    def close(self) -> None:
        """Forget it all."""
        self._database.close()

    def refusals(self, statements: Sequence[str]) -> Iterator[str]:
        """Run a script; why D1 would refuse each statement that it would."""
        for statement in statements:
            if WRANGLER_CUTS in statement:
                yield f"wrangler takes {WRANGLER_CUTS} out of a file, also where it is a value"
            if NOT_ALTERED.match(statement):
                yield f"D1 refuses to alter constraints: {_shown(statement)}"
                continue
            self._denied.clear()
            for limit, (number, _) in LIMITS.items():
                self._database.setlimit(limit, number)
            try:
                self._database.execute(statement).fetchall()
            except sqlite3.IntegrityError:
                pass  # it is about rows, and there are none here
            except (sqlite3.Error, sqlite3.Warning) as error:
                yield f"{self._why(statement, error)}: {_shown(statement)}"

    def _authorize(self, code: int, first: str | None, second: str | None, *_: str | None) -> int:
        denied = None
        match code:
            case sqlite3.SQLITE_PRAGMA if str(first).lower() not in PRAGMAS:
                denied = f"PRAGMA {first}"
            case sqlite3.SQLITE_FUNCTION if str(second).lower() in FUNCTIONS:
                denied = f"the function {second}"
            case sqlite3.SQLITE_CREATE_VTABLE if str(second).lower() not in MODULES:
                denied = f"virtual tables of the kind {second}"
            case sqlite3.SQLITE_CREATE_TABLE if str(first).lower().startswith(RESERVED):
                denied = f"a table whose name begins with {RESERVED}"
            case _:
                denied = REFUSED.get(code)
        if denied is None:
            return sqlite3.SQLITE_OK
        self._denied.append(denied)
        return sqlite3.SQLITE_DENY

    def _why(self, statement: str, error: Exception) -> str:
        if self._denied:
            return f"D1 refuses {self._denied[0]}"
        for limit, (number, what) in LIMITS.items():
            self._database.setlimit(limit, self._usual[limit])
            try:
                self._database.execute(statement).fetchall()
            except sqlite3.IntegrityError:
                pass
            except (sqlite3.Error, sqlite3.Warning):
                continue
            return f"D1 allows {number:,} {what}"
        return f"D1 refuses it ({error})"


def remarks(statements: Sequence[str]) -> Iterator[str]:
    """What of a script D1 takes, and a reader should know."""
    if any(map(_TRIGGER.match, statements)):
        yield (
            "it creates a trigger, which `wrangler … --remote` has cut in pieces at times: look "
            "whether it is there afterwards"
        )
    for statement in statements:
        pragma = re.match(r"PRAGMA\s+(\w+)\s*[=(]", statement, re.IGNORECASE)
        if pragma and pragma[1].lower() in WITHOUT_EFFECT:
            yield f"PRAGMA {pragma[1]} does nothing on D1"


def in_one_line(statement: str) -> str:
    """A CREATE TRIGGER as `wrangler … --remote` cuts it least: one line, BEGIN and END in capitals.

    Strings stay as they are, and so does any other statement.
    """
    if not _TRIGGER.match(statement):
        return statement
    said = ""
    for part in _PART.finditer(statement):
        text = part[0]
        if part["space"] or text.startswith(("--", "/*")):
            text = "" if said.endswith(" ") else " "
        elif part["word"] and text.upper() in ("BEGIN", "END", "CASE"):
            text = text.upper()
        said += text
    return said


def _shown(statement: str) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
