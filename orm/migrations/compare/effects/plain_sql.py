"""The text of SQL statements, read as the operations that they amount to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from alembic.operations.ops import (
    AlterColumnOp,
    CreateCheckConstraintOp,
    CreateForeignKeyOp,
    CreateIndexOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    RenameTableOp,
)

__all__ = ["Deletes", "Rewrites", "Updates", "in_sql"]

_ONE: Final = r"(?:\w+|\"[^\"]+\"|`[^`]+`|\[[^]]+\])"
_NAME: Final = rf"(?P<{{}}>{_ONE}(?:\.{_ONE})?)"
_IF: Final = r"(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?"
_STARTS: Final = r"^(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_OPTIONS: Final = re.IGNORECASE | re.DOTALL
_WITHIN: Final = r"(?:(?:WITH|DO|BEGIN)\b.*?\b)?"
"""A statement may stand in another one, and in a block."""
_DELETES: Final = re.compile(
    rf"{_STARTS}{_WITHIN}(?:DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?)\s+(?:ONLY\s+)?"
    rf"{_NAME.format('table')}",
    _OPTIONS,
)
_UPDATES: Final = re.compile(
    rf"{_STARTS}{_WITHIN}UPDATE\s+(?:ONLY\s+)?{_NAME.format('table')}\s.*?\bSET\b(?P<sets>.+)",
    _OPTIONS,
)
_STRING: Final = re.compile(r"'(?:[^']|'')*'")
_SETS: Final = re.compile(rf"(?:{_ONE}\.)?(?P<column>{_ONE})\s*=")
_DROPS: Final = re.compile(rf"{_STARTS}DROP\s+TABLE\s+{_IF}(?P<tables>[^;]+)", _OPTIONS)
_INDEXES: Final = re.compile(
    rf"{_STARTS}CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?P<concurrently>CONCURRENTLY\s+)?"
    rf"(?:IF\s+NOT\s+EXISTS\s+)?(?:{_ONE}\s+)?ON\s+(?:ONLY\s+)?{_NAME.format('table')}",
    _OPTIONS,
)
_ALTERS: Final = re.compile(
    rf"{_STARTS}ALTER\s+TABLE\s+{_IF}{_NAME.format('table')}\s+(?P<how>[^;]+)", _OPTIONS
)
_DROP_COLUMN: Final = re.compile(
    rf"\bDROP\s+(?!CONSTRAINT|INDEX|PRIMARY|FOREIGN|DEFAULT|NOT|EXPRESSION|IDENTITY)"
    rf"(?:COLUMN\s+)?{_IF}{_NAME.format('column')}",
    _OPTIONS,
)
_RENAME_COLUMN: Final = re.compile(
    rf"^RENAME\s+(?:COLUMN\s+)?(?!TO\b){_NAME.format('column')}\s+TO\s+{_NAME.format('new')}",
    _OPTIONS,
)
_RENAME: Final = re.compile(rf"^RENAME\s+TO\s+{_NAME.format('new')}", _OPTIONS)

_NOT_NULL: Final = re.compile(
    rf"\bALTER\s+(?:COLUMN\s+)?{_NAME.format('column')}\s+SET\s+NOT\s+NULL", _OPTIONS
)
_REWRITE: Final = re.compile(
    rf"\bALTER\s+(?:COLUMN\s+)?{_NAME.format('column')}\s+(?:SET\s+DATA\s+)?TYPE\s+"
    r"(?P<type>\w+(?:\s+(?!USING\b|COLLATE\b)\w+)*(?:\s*\([^)]*\)[\w\s]*?)?(?:\[\])?)?"
    r"(?=\s*(?:USING\b|COLLATE\b|,|$))",
    _OPTIONS,
)
_MODIFY: Final = re.compile(
    rf"\b(?:MODIFY\s+(?:COLUMN\s+)?{_NAME.format('column')}"
    rf"|CHANGE\s+(?:COLUMN\s+)?{_NAME.format('changed')}\s+{_NAME.format('new')})\s+"
    r"(?P<type>\w+(?:\s+PRECISION\b)?(?:\s*\([^)]*\))?(?:\s+UNSIGNED\b)?)(?P<rest>[^,]*)",
    _OPTIONS,
)
"""What MariaDB and MySQL say in the place of ALTER COLUMN: the whole definition."""
_CONSTRAIN: Final = re.compile(
    r"^ADD\s+(?:CONSTRAINT\s+\S+\s+)?(?P<kind>FOREIGN|CHECK|UNIQUE|EXCLUDE)\b(?!.*\bNOT\s+VALID\s*$)",
    _OPTIONS,
)


@dataclass(frozen=True, slots=True)
class Deletes:
    """Rows of a table are deleted."""

    table: str


@dataclass(frozen=True, slots=True)
class Updates:
    """Values of a table are set."""

    table: str
    columns: frozenset[str] | None
    """Of these columns; perhaps of fewer, since the statement may only compare some of them. None
    if the columns are not known."""


@dataclass(frozen=True, slots=True)
class Rewrites:
    """A column gets another type; the statement says what becomes of its values."""

    table: str
    column: str
    type: str
    """In SQL's words; empty if it cannot be seen."""


def in_sql(text: str) -> Iterator[MigrateOperation | Deletes | Updates | Rewrites]:
    """What statements amount to, of what a reader should know of.

    Args:
        text: statements. What stands in a function or in a string may be taken for one.
    """
    for statement in text.split(";"):
        if found := _DELETES.match(statement):
            yield Deletes(_plain(found["table"]))
        elif found := _UPDATES.match(_STRING.sub("''", statement)):  # messages advise an UPDATE
            columns = (_plain(one["column"]) for one in _SETS.finditer(found["sets"]))
            yield Updates(_plain(found["table"]), frozenset(columns))
        elif found := _DROPS.match(statement):
            names = re.sub(r"\b(CASCADE|RESTRICT)\s*$", "", found["tables"], flags=re.IGNORECASE)
            yield from (DropTableOp(_plain(name)) for name in names.split(","))
        elif found := _INDEXES.match(statement):
            yield CreateIndexOp(
                None,
                _plain(found["table"]),
                [],
                unique=found["unique"] is not None,
                postgresql_concurrently=found["concurrently"] is not None,
            )
        elif found := _ALTERS.match(statement):
            yield from _altering(_plain(found["table"]), found["how"])


def _altering(table: str, how: str) -> Iterator[MigrateOperation | Rewrites]:
    if found := _RENAME.match(how):
        yield RenameTableOp(table, _plain(found["new"]))
    elif found := _RENAME_COLUMN.match(how):
        yield AlterColumnOp(table, _plain(found["column"]), modify_name=_plain(found["new"]))
    elif found := _CONSTRAIN.match(how):
        if found["kind"].upper() == "FOREIGN":
            yield CreateForeignKeyOp(None, table, "", [], [])
        else:
            yield CreateCheckConstraintOp(None, table, "")
    else:
        for found in _NOT_NULL.finditer(how):
            yield AlterColumnOp(table, _plain(found["column"]), modify_nullable=False)
        for found in _REWRITE.finditer(how):
            yield Rewrites(table, _plain(found["column"]), found["type"] or "")
        for found in _MODIFY.finditer(how):
            yield from _modified(table, found)
        for found in _DROP_COLUMN.finditer(how):
            yield DropColumnOp(table, _plain(found["column"]))


def _modified(table: str, found: re.Match[str]) -> Iterator[MigrateOperation | Rewrites]:
    column = _plain(found["column"] or found["changed"])
    if re.search(r"\bNOT\s+NULL\b", found["rest"], re.IGNORECASE):
        yield AlterColumnOp(table, column, modify_nullable=False)
    yield Rewrites(table, column, found["type"])
    if found["new"] is not None and _plain(found["new"]) != column:
        yield AlterColumnOp(table, column, modify_name=_plain(found["new"]))


def _plain(name: str) -> str:
    return re.sub(r"[\"`\[\]]", "", name.strip())
