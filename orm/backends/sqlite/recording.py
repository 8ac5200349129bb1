"""Taking down what a revision executes: what of it a script has, and what no script can do.

A revision is replayed without rows. So a script is right only if nothing that the revision does
depends on rows: it may look at the schema, and at nothing else.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, event

from orm.backends.migration_parts import NotAScript, Script
from orm.backends.sqlite.compiled import Compiled, compiled
from orm.backends.sqlite.literals import terminated, written_out
from orm.backends.sqlite.script import written

__all__ = ["script"]

_OF_THE_SCHEMA: Final = frozenset(
    "table_info table_xinfo table_list index_info index_list index_xinfo foreign_key_list "
    "collation_list compile_options function_list module_list".split()
)
"""Pragmas that describe tables, and SQLite itself."""
_OF_ROWS: Final = frozenset("foreign_key_check integrity_check quick_check".split())
_SETTINGS: Final = frozenset(
    "defer_foreign_keys encoding foreign_keys ignore_check_constraints legacy_alter_table "
    "recursive_triggers".split()
)
_OF_THE_MOMENT: Final = frozenset("changes last_insert_rowid total_changes".split())
"""Functions that say what earlier statements did to rows."""
_IN_SQL: Final = "say it in SQL alone, with op.execute"
_LONGEST: Final = 200
"""Characters of a statement that a message shows."""


@contextmanager
def script(connection: Connection, without: frozenset[str]) -> Iterator[Callable[[], Script]]:
    """Take down what is executed (`orm.backends.Migrations.script`)."""
    recorder = _Recorder(connection, without)
    listeners: dict[str, Callable[..., Any]] = {
        "before_cursor_execute": recorder.before,
        "after_cursor_execute": recorder.after,
        "after_execute": recorder.answered,
    }
    for name, listener in listeners.items():
        event.listen(connection, name, listener)
    try:
        yield recorder.script
    except BaseException:
        recorder.close()
        raise
    finally:
        for name, listener in listeners.items():
            event.remove(connection, name, listener)


class _Recorder:
    def __init__(self, connection: Connection, without: frozenset[str]) -> None:
        driver: Any = connection.connection.driver_connection
        self._connection = connection
        self._driver: sqlite3.Connection = driver
        if driver.in_transaction:  # the copy below would wait for its end, and never see it
            raise ValueError("a replay is taken down from a connection in no transaction")
        self._without = without
        self._before = sqlite3.connect(":memory:", isolation_level=None)
        self._driver.backup(self._before)
        self._statements: list[str] = []
        self._running: list[str] = []
        """The statement that runs now, once for each set of parameters, if a script has it."""
        self._writes = False
        """Whether that writes rows."""
        self._refused: NotAScript | None = None

    def script(self) -> Script:
        try:
            if self._refused is not None:  # the revision has caught it
                raise self._refused
            return written(self._statements, self._before, self._connection, self._without)
        finally:
            self.close()

    def close(self) -> None:
        self._before.close()

    # SQLAlchemy's events ---------------------------------------------------------------------

    def before(
        self, _c: object, _cursor: object, sql: str, parameters: Any, context: Any, many: bool
    ) -> None:
        self._running, self._writes = [], False
        is_probe = context.execution_options.get("probe", False)
        if is_probe or sql.lstrip()[:7].upper() == "EXPLAIN":
            return
        rows = parameters if many else [parameters]
        try:
            what = compiled(self._driver, sql, rows[0])
        except sqlite3.Error:  # which the revision sees in a moment
            return
        if what.touches & self._without:
            return
        if self._is_statement(sql, what):
            self._writes = bool(what.writes)
            if self._writes and context.compiled is None:
                self._refuse("it writes past SQLAlchemy", sql)
            self._running = [terminated(written_out(sql, row)) for row in rows]

    def after(self, _c: object, cursor: Any, sql: str, *_: object) -> None:
        self._statements += self._running  # not one that has failed
        if self._writes and cursor.description is not None:
            self._refuse("it looks at the rows that it has written", sql)

    def answered(
        self, _c: object, _clause: object, _m: object, _p: object, _o: object, result: Any
    ) -> None:
        if self._writes and not result.returns_rows:
            result.context = _NoAnswer(self._refuse)

    # Whether it belongs into a script ----------------------------------------------------------

    def _is_statement(self, sql: str, what: Compiled) -> bool:
        """Whether it changes something, or else is only a question about the schema."""
        if what.of(sqlite3.SQLITE_TRANSACTION):
            self._refuse(
                "it begins or ends a transaction", sql, "a script runs in one; leave it out"
            )
        pragmas = [
            (name, value) for code, name, value in what.acts if code == sqlite3.SQLITE_PRAGMA
        ]
        if pragmas:
            name, value = pragmas[0]
            return self._is_setting(str(name).lower(), value, sql)
        if not what.is_query:
            return True
        asked = {name.removeprefix("pragma_") for name in what.of(sqlite3.SQLITE_READ)}
        functions = {
            str(name).lower() for code, _, name in what.acts if code == sqlite3.SQLITE_FUNCTION
        }
        if what.reads or asked & _OF_ROWS or functions & _OF_THE_MOMENT:
            self._refuse("it asks the database for what depends on its rows", sql)
        return False

    def _is_setting(self, name: str, value: str | None, sql: str) -> bool:
        if name in _OF_THE_SCHEMA or (name in _SETTINGS and value is None):
            return False
        if name in _OF_ROWS or (value is None and name != "optimize"):
            self._refuse("it asks the database for what depends on its rows", sql)
        return True

    def _refuse(self, why: str, sql: str = "", do: str = _IN_SQL) -> NoReturn:
        shown = " ".join(sql.split())
        shown = f" ({shown[:_LONGEST]})" if shown else ""
        self._refused = self._refused or NotAScript(f"{why}{shown}: {do}")
        raise self._refused


class _NoAnswer:
    """In the place of what SQLAlchemy knows of an executed statement: rows, keys, …"""

    def __init__(self, refuse: Callable[[str], NoReturn]) -> None:
        self._refuse = refuse

    def __getattr__(self, name: str) -> Any:
        self._refuse(f"it asks how many rows a statement has changed, or which ({name})")
