"""What a statement would do, as SQLite says it when it compiles one.

SQLite asks an authorizer about each thing that a statement is going to do: to read a column, to
delete from a table, and so on, in triggers and in the actions of foreign keys too (SQLite
"Compile-Time Authorization Callbacks").
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from orm.backends.sqlite.schema import folded

__all__ = ["Compiled", "compiled"]

_WRITES: Final = frozenset({sqlite3.SQLITE_DELETE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE})
_ABOUT_TABLES: Final = frozenset(
    {
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TRIGGER,
        sqlite3.SQLITE_ALTER_TABLE,
    }
)
"""The actions whose second argument is a table."""
_OF_ROWS: Final = _WRITES | {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_OF_A_QUERY: Final = _OF_ROWS - _WRITES
_SCHEMA: Final = "sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a statement would do.

    Attributes:
        acts: the code of each action, and its first two arguments.
    """

    acts: tuple[tuple[int, str | None, str | None], ...]

    def of(self, action: int) -> set[str]:
        """The first arguments of one kind of action, in lower case."""
        return {folded(str(first)) for code, first, _ in self.acts if code == action}

    @property
    def writes(self) -> Counter[str]:
        """How often it would write to each table; those of the schema do not count."""
        return Counter(
            folded(str(table))
            for code, table, _ in self.acts
            if code in _WRITES and folded(str(table)) not in _SCHEMA
        )

    @property
    def reads(self) -> set[str]:
        """The tables that it would read; those of the schema, and pragmas, do not count."""
        return {
            table
            for table in self.of(sqlite3.SQLITE_READ)
            if table not in _SCHEMA and not table.startswith("pragma_")
        }

    @property
    def touches(self) -> set[str]:
        """All tables that it would read, write or change."""
        changed = {folded(str(second)) for code, _, second in self.acts if code in _ABOUT_TABLES}
        made = self.of(sqlite3.SQLITE_DROP_TABLE) | self.of(sqlite3.SQLITE_CREATE_TABLE)
        return self.reads | set(self.writes) | changed | made

    @property
    def is_about_rows(self) -> bool:
        """Whether it leaves the schema, and the settings of the connection, as they are."""
        return all(code in _OF_ROWS for code, _, _ in self.acts)

    @property
    def renames(self) -> bool:
        """Whether it may rename a table."""
        return any(code == sqlite3.SQLITE_ALTER_TABLE for code, _, _ in self.acts)

    @property
    def is_query(self) -> bool:
        """Whether it only asks for something. (Compiling ``pragma_…`` tables declares them.)"""
        return all(
            code in _OF_A_QUERY or folded(str(first)) in _SCHEMA for code, first, _ in self.acts
        )


def compiled(driver: sqlite3.Connection, sql: str, parameters: Any = ()) -> Compiled:
    """Compile a statement, and run nothing.

    Raises:
        sqlite3.Error: it cannot be compiled.
    """
    acts: list[tuple[int, str | None, str | None]] = []

    def note(code: int, first: str | None, second: str | None, *_: str | None) -> int:
        acts.append((code, first, second))
        # A pragma takes effect while it is compiled.
        return sqlite3.SQLITE_IGNORE if code == sqlite3.SQLITE_PRAGMA else sqlite3.SQLITE_OK

    with _authorizing(driver, note):
        driver.execute(f"EXPLAIN {sql}", parameters).close()
    return Compiled(tuple(acts))


@contextmanager
def _authorizing(driver: sqlite3.Connection, authorizer: Any) -> Iterator[None]:
    driver.set_authorizer(authorizer)
    try:
        yield
    finally:
        driver.set_authorizer(None)
