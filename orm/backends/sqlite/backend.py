"""SQLite through aiosqlite, with replicas that are files."""

import sqlite3
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.base import Backend
from orm.backends.migrations import Migrations
from orm.backends.parts import EmbeddedReplicas
from orm.backends.sqlite import embedded, engines, position
from orm.backends.sqlite.driver import code
from orm.backends.sqlite.migrations import SQLiteMigrations
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError

__all__ = ["SQLiteBackend"]

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB})
_UNAVAILABLE: Final = _DAMAGED | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


class SQLiteBackend(Backend):
    """SQLite through aiosqlite: one primary, whose history is one line of commits."""

    embedded: EmbeddedReplicas | None = embedded
    migrations: Migrations | None = SQLiteMigrations()

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        _refuse_shared(shared)
        return engines.writer_engine(url, **options)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        _refuse_shared(shared)
        return engines.reader_engine(url, **options)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        return engines.snapshot_engine(reader)

    def prepare(self, connection: Connection) -> None:
        position.prepare(connection)

    def is_idle(self, connection: Connection) -> bool:
        return engines.is_idle(connection)

    def incarnation(self, connection: Connection) -> str:
        return engines.incarnation(connection)

    def position(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def seen(self, connection: Connection) -> Bookmark | None:
        return position.seen(connection)

    def noted(self, connection: Connection) -> Bookmark | None:
        return position.noted(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        return position.committed(connection)

    def is_read_only(self, error: DBAPIError) -> bool:
        return code(error) == sqlite3.SQLITE_READONLY

    def is_retryable(self, error: DBAPIError) -> bool:
        return code(error) == sqlite3.SQLITE_BUSY

    def is_unavailable(self, error: DBAPIError) -> bool:
        return code(error) in _UNAVAILABLE

    def is_unreachable(self, error: Exception) -> bool:
        return False  # a file that is not there was named wrongly

    def is_damaged(self, error: DBAPIError) -> bool:
        return code(error) in _DAMAGED

    def is_missing(self, error: DBAPIError) -> bool:
        return str(error.orig).startswith(("no such table", "no such column"))


def _refuse_shared(shared: bool) -> None:
    if shared:
        raise ConfigurationError("shared=True is for servers behind a pooler, not for files")
