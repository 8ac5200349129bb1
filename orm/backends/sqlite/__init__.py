"""SQLite through aiosqlite, with replicas that are files."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.base import FileCopy, Thing, Write
from orm.backends.sqlite import engines, position
from orm.backends.sqlite.dangling import dangling, summary
from orm.backends.sqlite.definitions import definitions
from orm.backends.sqlite.driver import code
from orm.backends.sqlite.files import file_at, file_of
from orm.backends.sqlite.migrating import migrating
from orm.backends.sqlite.snapshot import snapshot
from orm.backends.sqlite.writing import write
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError, MigrationError

__all__ = ["SQLiteBackend"]

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB})
_UNAVAILABLE: Final = _DAMAGED | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


class SQLiteBackend:
    """SQLite through aiosqlite. Implements `orm.backends.Backend`."""

    reserved_tables = frozenset({"orm_position"})
    all_ddl_is_transactional = True
    has_fences = False
    unit = "commits"
    new_columns_need_constants = True

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        _refuse_shared(shared)
        return engines.writer_engine(url, **options)

    def migration_engine(self, url: URL, **options: Any) -> Engine:
        return engines.migration_engine(url, **options)

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        return migrating(connection, file_of(connection), patience)

    def is_absent(self, url: URL) -> bool:
        return engines.is_absent(url)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        _refuse_shared(shared)
        return engines.reader_engine(url, **options)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        return engines.snapshot_engine(reader)

    def prepare(self, connection: Connection) -> None:
        position.prepare(connection)

    def faults(self, connection: Connection) -> Counter[str]:
        return dangling(connection)

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        found = dangling(connection) - known
        if found:
            raise MigrationError(
                f"{found.total()} foreign key(s) would be left without their parent row: "
                f"{summary(found)}. Delete or update these rows in the same revision"
            )
        for statement, values in writes:
            write(connection, statement, values)

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        return ()  # its message is all that it knows

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        file = file_of(connection)
        copy = snapshot(file, name, without)
        if copy is None:
            return None
        return (
            f"{copy} (to go back: stop what uses {file.name}, delete {file.name}-wal and "
            f"{file.name}-shm, and move this file to {file.name})"
        )

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    @contextmanager
    def scratch(self, url: URL) -> Iterator[Connection]:
        engine = create_engine("sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def lint(self, sql: str) -> Sequence[str] | None:
        return ()  # there is none, and nobody else to wait for a lock

    def incarnation(self, connection: Connection) -> str:
        return engines.incarnation(connection)

    def is_idle(self, connection: Connection) -> bool:
        return engines.is_idle(connection)

    def position(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def reach(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        return False

    def seen(self, connection: Connection) -> Bookmark | None:
        return position.seen(connection)

    def written(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        return position.committed(connection)

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        return None  # its history is one line

    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        return frozenset()

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return hidden

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return hidden

    def as_need(self, at: Bookmark) -> Bookmark:
        return at

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        return False

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        return at.behind(head)

    def replayed(self, connection: Connection) -> float | None:
        return None

    def is_standby(self, connection: Connection) -> bool | None:
        return None

    def is_unavailable(self, error: DBAPIError) -> bool:
        return code(error) in _UNAVAILABLE

    def is_unreachable(self, error: Exception) -> bool:
        return False  # a file that is not there was named wrongly

    def is_damaged(self, error: DBAPIError) -> bool:
        return code(error) in _DAMAGED

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        return False

    def is_read_only(self, error: DBAPIError) -> bool:
        return code(error) == sqlite3.SQLITE_READONLY

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        source = file_at(primary)
        files = [
            source.with_name(f"{source.stem}.replica-{number}{source.suffix}")
            for number in range(1, count + 1)
        ]
        return [FileCopy(source, file, primary.set(database=str(file))) for file in files]


def _refuse_shared(shared: bool) -> None:
    if shared:
        raise ConfigurationError("shared=True is for servers behind a pooler, not for files")
