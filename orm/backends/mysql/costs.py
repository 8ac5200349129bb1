"""What an ALTER costs, as the engine itself says when it is asked to do it in a certain way.

"ALGORITHM=INSTANT" is refused where it cannot be done so, and so is INPLACE with LOCK=NONE. A table
without rows answers as a full one does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, event

from orm.backends.migration_parts import Cost
from orm.backends.mysql.asking import OnDriver
from orm.backends.mysql.driver import code
from orm.backends.mysql.tokens import LEXER
from orm.backends.tokens import Cursor

__all__ = ["costs"]

_WAYS: Final = (
    ("ALGORITHM=INSTANT", "at once (INSTANT), however many rows it has"),
    ("ALGORITHM=INPLACE, LOCK=NONE", "in place (INPLACE), while others write to it"),
)
_COPIES: Final = "by a copy of all its rows (COPY), and others cannot write to it meanwhile"
_NOT_SO: Final = frozenset({1221, 1845, 1846})
"""Errors of a way in which it cannot be done."""
_NOTHING: Final = "DO 0"


@contextmanager
def costs(connection: Connection) -> Iterator[list[Cost]]:
    """What each ALTER costs that is executed in the block (`orm.backends.Migrations.costs`)."""
    found: list[Cost] = []
    dbapi = connection.connection.dbapi_connection
    assert dbapi is not None
    asks = OnDriver(dbapi)

    def before(
        _c: object, _cursor: object, sql: str, parameters: Any, _context: object, _many: bool
    ) -> tuple[str, Any]:
        if parameters or not sql.lstrip().upper().startswith(("ALTER", "CREATE")):
            return sql, parameters  # rows may be many: they are not taken apart
        statement = Cursor(sql, LEXER(sql))
        alters = statement.words[:2] == ["ALTER", "TABLE"]
        if not (alters or _makes_index(statement)):
            return sql, parameters
        statement.go_past("TABLE" if alters else "ON")
        table = statement.name()
        for way, costs in _WAYS:
            words = f", {way}" if alters else f" {way.replace(',', '')}"
            try:
                asks.rows(f"{sql}{words}")
            except asks.errors as error:
                if code(error) not in _NOT_SO:
                    break  # it fails in any way, and says so when it is executed
            else:
                found.append(Cost(table, costs))
                return _NOTHING, ()
        found.append(Cost(table, _COPIES))
        return sql, parameters

    event.listen(connection, "before_cursor_execute", before, retval=True)
    try:
        yield found
    finally:
        event.remove(connection, "before_cursor_execute", before)


def _makes_index(statement: Cursor) -> bool:
    return statement.words[:1] == ["CREATE"] and "INDEX" in statement.words[1:3]
