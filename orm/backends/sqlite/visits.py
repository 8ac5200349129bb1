"""One visit to the driver's thread for each statement, where SQLAlchemy's dialect makes four.

aiosqlite gives each connection a thread, and each call into it takes longer than SQLite takes for a
short read. SQLAlchemy calls it to make a cursor, to execute, to fetch and to close. Here all four
are one call, and so are BEGIN and the statement after it, and COMMIT and the statement before it.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_dbapi,
)

from orm._greenlet import await_
from orm.backends.sqlite.driver import Work

__all__ = ["VisitedConnection", "one_visit"]

_T = TypeVar("_T")


def one_visit() -> AsyncAdapt_aiosqlite_dbapi:
    """For `create_async_engine`: short statements on SQLite take less time, and all else is equal.

    ``create_async_engine("sqlite+aiosqlite:///app.db", module=one_visit())`` is an engine as it
    would be without it: with the same transactions, events, errors and streams. A `Database` has it
    already. Connections that an ``async_creator`` opens are left as they are.

    Returns:
        What takes the place of the driver, as ``module``.
    """
    return _Driver(aiosqlite, sqlite3)


# In the thread -----------------------------------------------------------------------------


class _Errand:
    """What is to be done in the thread, in one visit.

    It looks like a statement, and then like its cursor, to `aiosqlite.Connection.execute_fetchall`:
    the public method with which a single visit can bring back more than the rows.
    """

    __slots__ = ("_outcome", "_work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self._work = work

    def run(self, connection: sqlite3.Connection) -> Self:
        self._outcome = self._work(connection)
        return self

    def fetchall(self) -> Any:
        return self._outcome


class _InThread(sqlite3.Connection):
    """SQLite's connection: it runs errands, and begins a transaction late.

    Late is with the first statement, by whichever of its methods. Until then no lock is held, and
    nothing was read.
    """

    late: str | None = None
    """The statement that begins the transaction, as long as it was not executed."""
    note: str | None = None
    """A query that is made after each statement, in the same visit."""
    noted: Any = None
    """The row that it has returned; None as soon as anything else is executed."""

    def begin(self) -> None:
        self.noted = None
        if self.late is not None:
            super().cursor().execute(self.late)
            self.late = None

    def take_note(self) -> None:
        if self.note is not None:
            with suppress(sqlite3.Error, IndexError):  # the statement before it has succeeded
                self.noted = super().execute(self.note).fetchall()[0]

    def execute(self, sql: Any, *parameters: Any) -> Any:
        if isinstance(sql, _Errand):
            return sql.run(self)
        self.begin()  # CPython's own goes past the methods of cursors
        return super().execute(sql, *parameters)

    def executemany(self, *args: Any) -> Any:
        self.begin()
        return super().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        self.begin()
        return super().executescript(*args)

    def cursor(self, *factory: Any, **options: Any) -> Any:
        if factory or options:
            self.begin()
            self.note = None  # what such a cursor executes later goes past this class
            return super().cursor(*factory, **options)
        return super().cursor(_CursorInThread)

    @property
    def in_transaction(self) -> bool:
        return self.late is not None or super().in_transaction

    def commit(self) -> None:
        self.late = None
        super().commit()

    def rollback(self) -> None:
        self.late = None
        super().rollback()


def _begin(connection: Any) -> None:
    """Begin what is late: `sqlite3.Cursor.connection` is declared as SQLite's own class."""
    connection.begin()


class _CursorInThread(sqlite3.Cursor):
    def execute(self, *args: Any) -> Self:
        _begin(self.connection)
        return super().execute(*args)

    def executemany(self, *args: Any) -> Self:
        _begin(self.connection)
        return super().executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        _begin(self.connection)
        return super().executescript(*args)


class _Factory:
    """Makes the connection, and knows it: aiosqlite does not show it."""

    made: _InThread

    def __init__(self, kind: type[sqlite3.Connection]) -> None:
        self._kind: Any = _InThread
        if kind is not sqlite3.Connection:
            self._kind = type(kind.__name__, (_InThread, kind), {})

    def __call__(self, *args: Any, **options: Any) -> _InThread:
        self.made = self._kind(*args, **options)
        return self.made


# In the event loop's thread ----------------------------------------------------------------

_Outcome = tuple[deque[Any], Any, int | None, int]
"""The rows, and `description`, `lastrowid` and `rowcount` of a cursor."""


def _execute(many: bool, sql: str, parameters: Any, connection: _InThread) -> _Outcome:
    cursor = connection.cursor()
    try:
        (cursor.executemany if many else cursor.execute)(sql, parameters)
        rows = deque(cursor) if cursor.description and not many else deque()
        outcome = rows, cursor.description, cursor.lastrowid, cursor.rowcount
    finally:
        cursor.close()
    connection.take_note()
    return outcome


def _commit(work: Work, rows: list[Any], connection: sqlite3.Connection) -> None:
    rows.extend(work(lambda sql, parameters: connection.execute(sql, parameters).fetchall()))
    connection.commit()


class VisitedCursor:
    """The part of a DBAPI cursor that SQLAlchemy uses; it has all its rows once it has executed."""

    __slots__ = (
        "_closed",
        "_connection",
        "_rows",
        "arraysize",
        "description",
        "lastrowid",
        "rowcount",
    )

    server_side: bool = False
    _cursor: None = None
    """The driver's: none is left, as in SQLAlchemy's own cursor for streams that is closed."""

    def __init__(self, connection: "VisitedConnection") -> None:
        self._connection = connection
        self._closed = False
        self.arraysize: int = 1
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount: int = -1

    def execute(self, operation: str, parameters: Any = None) -> Self:
        return self._run(False, operation, () if parameters is None else parameters)

    def executemany(self, operation: str, seq_of_parameters: Any) -> Self:
        return self._run(True, operation, seq_of_parameters)

    def _run(self, many: bool, sql: str, parameters: Any) -> Self:
        if self._closed:
            raise sqlite3.ProgrammingError("Cannot operate on a closed cursor.")
        outcome = self._connection.visit(partial(_execute, many, sql, parameters))
        self._rows, self.description, lastrowid, self.rowcount = outcome
        if lastrowid is not None:  # as when there are several
            self.lastrowid = lastrowid
        return self

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        rows = self._rows
        wanted = self.arraysize if size is None else size
        return [rows.popleft() for _ in range(min(wanted, len(rows)))]

    def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, deque()
        return list(rows)

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    def close(self) -> None:
        self._closed = True
        self._rows = deque()

    async def _async_soft_close(self) -> None:
        """Do nothing: SQLAlchemy 2.1's asyncio engine awaits this after each statement."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        self.close()


class VisitedConnection(AsyncAdapt_aiosqlite_connection):
    """SQLAlchemy's connection of aiosqlite's, with cursors that visit the thread once."""

    __slots__ = ("_in_thread", "_last")

    def __init__(self, driver: Any, connection: Any, in_thread: _InThread) -> None:
        super().__init__(driver, connection)
        self._in_thread = in_thread
        self._last: Callable[[sqlite3.Connection], None] | None = None

    def cursor(self, server_side: bool = False) -> Any:
        return super().cursor(server_side=True) if server_side else VisitedCursor(self)

    @property
    def noted(self) -> Any:
        """What `note` has brought; None if it was not made since, or something else was."""
        return self._in_thread.noted

    def note(self, query: str) -> None:
        """Make a query after each statement, and keep its first row; it is no error if it fails."""
        self._in_thread.note = query

    def forget(self) -> None:
        """Forget what was noted: other connections go on."""
        self._in_thread.noted = None

    def visit(self, work: Callable[[Any], _T]) -> _T:
        """Call a function in the connection's thread.

        If this is cancelled, the thread goes on with the function all the same.
        """
        try:
            outcome: _T = await_(self.driver_connection.execute_fetchall(_Errand(work)))
        except Exception as error:  # noqa: BLE001 - it raises all of them
            self._handle_exception(error)
        return outcome

    def begin(self, sql: str) -> None:
        """Begin a transaction, with the first statement that is executed from now on."""
        self._in_thread.late = sql

    def at_commit(self, work: Work, rows: list[Any]) -> None:
        """Do some work in the visit of the next COMMIT, before it.

        Args:
            work: executes statements.
            rows: the rows that it returns are added to these.
        """
        self._last = partial(_commit, work, rows)

    def commit(self) -> None:
        last, self._last = self._last, None
        if last is None:
            super().commit()
        else:
            self.visit(last)

    def rollback(self) -> None:
        self._last = None
        super().rollback()


class _Driver(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *args: Any, **options: Any) -> AsyncAdapt_aiosqlite_connection:
        if options.get("async_creator_fn"):
            return super().connect(*args, **options)
        factory = _Factory(options.get("factory", sqlite3.Connection))
        plain = super().connect(*args, **options | {"factory": factory})
        return VisitedConnection(self, plain.driver_connection, factory.made)
