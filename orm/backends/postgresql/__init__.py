"""PostgreSQL through asyncpg or psycopg."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.base import FileCopy, Thing, Write
from orm.backends.postgresql import engines, fences, migrating, position, waiting
from orm.backends.postgresql.definitions import definitions
from orm.backends.postgresql.driver import renew, sqlstate
from orm.backends.postgresql.explain import explain
from orm.backends.postgresql.restore_point import restore_point
from orm.backends.postgresql.scratch import scratch
from orm.backends.postgresql.squawk import lint
from orm.bookmark import Bookmark
from orm.exceptions import ConfigurationError

__all__ = ["PostgreSQLBackend"]


_UNAVAILABLE: Final = frozenset(
    {
        "40001",  # a recovery conflict: the standby had to replay what the statement still read
        "40P01",  # the same, as a deadlock
        "53300",  # too many connections
        "55000",  # recovery is in a state in which it cannot answer
        "57P01",  # it is shut down
        "57P02",  # it has crashed
        "57P03",  # it starts up
    }
)
_DAMAGED: Final = frozenset({"XX001", "XX002"})


class PostgreSQLBackend:
    """PostgreSQL. Implements `orm.backends.Backend`."""

    reserved_tables: frozenset[str] = frozenset()
    all_ddl_is_transactional = False
    has_fences = True
    unit = "bytes"
    new_columns_need_constants = False

    def writer_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        if shared:
            return engines.shared_writer_engine(url, **options)
        return engines.writer_engine(url, **options)

    def reader_engine(self, url: URL, *, shared: bool = False, **options: Any) -> AsyncEngine:
        if shared:
            return engines.shared_reader_engine(url, **options)
        return engines.reader_engine(url, **options)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        return engines.snapshot_engine(reader)

    def migration_engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        return migrating.migration_engine(url, **options)

    def migrating(self, connection: Connection, patience: float) -> AbstractContextManager[None]:
        return migrating.migrating(connection, patience)

    def is_absent(self, url: URL) -> bool:
        return False

    def prepare(self, connection: Connection) -> None:
        pass

    def faults(self, connection: Connection) -> Counter[str]:
        return migrating.faults(connection)

    def verify(self, connection: Connection, known: Counter[str], writes: Sequence[Write]) -> None:
        migrating.verify(connection, writes)

    def explain(self, connection: Connection, error: DBAPIError) -> Sequence[str]:
        return explain(connection, error)

    def restore_point(
        self, connection: Connection, name: str, without: frozenset[str]
    ) -> str | None:
        return restore_point(connection, without)

    def definitions(self, connection: Connection) -> Mapping[Thing, str]:
        return definitions(connection)

    def scratch(self, url: URL) -> AbstractContextManager[Connection]:
        return scratch(url)

    def lint(self, sql: str) -> Sequence[str] | None:
        return lint(sql)

    def incarnation(self, connection: Connection) -> str:
        return position.incarnation(connection)

    def is_idle(self, connection: Connection) -> bool:
        return engines.is_idle(connection)

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        return position.behind(at, head)

    def replayed(self, connection: Connection) -> float | None:
        return position.replayed(connection)

    def is_standby(self, connection: Connection) -> bool | None:
        return position.is_standby(connection)

    def position(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        return waiting.wait_until(connection, need, seconds)

    def seen(self, connection: Connection) -> Bookmark | None:
        return position.seen(connection)

    def written(self, connection: Connection) -> Bookmark | None:
        return position.written(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        return position.committed(connection, wrote=wrote)

    def lost(self, head: Bookmark, need: Bookmark) -> str | None:
        return position.lost(head, need)

    def as_need(self, at: Bookmark) -> Bookmark:
        return position.as_need(at)

    def hidden(self, connection: Connection, shown: int) -> frozenset[int]:
        return fences.hidden(connection, shown)

    def shown(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return fences.shown(connection, hidden)

    def ending(self, connection: Connection, hidden: frozenset[int]) -> frozenset[int]:
        return fences.ending(connection, hidden)

    def is_later(self, at: Bookmark, than: Bookmark) -> bool:
        return position.is_later(at, than)

    def is_unavailable(self, error: DBAPIError) -> bool:
        code = sqlstate(error)
        return error.connection_invalidated or code[:2] == "08" or code in _UNAVAILABLE

    def is_unreachable(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError):
            # psycopg knows no code of what went wrong while it connected.
            silent = isinstance(error, OperationalError) and not sqlstate(error)
            return silent or self.is_unavailable(error)
        return isinstance(error, OSError)

    def is_damaged(self, error: DBAPIError) -> bool:
        return sqlstate(error) in _DAMAGED

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        return renew(connection, error)

    def is_read_only(self, error: DBAPIError) -> bool:
        return sqlstate(error) == "25006"

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        raise ConfigurationError(
            "PostgreSQL replicates by itself: give the standbys' URLs, as in "
            "replicas=['postgresql+asyncpg://standby-1/app']"
        )
