"""PostgreSQL through asyncpg or psycopg."""

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from orm.backends.base import Backend
from orm.backends.lineage import current
from orm.backends.migrations import Migrations
from orm.backends.parts import Fences, Network, Roles
from orm.backends.postgresql import (
    driver,
    engines,
    fences,
    position,
    roles,
    waiting,
)
from orm.backends.postgresql.driver import renew, sqlstate
from orm.backends.postgresql.migrations import PostgreSQLMigrations
from orm.bookmark import Bookmark

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
_CONFLICTS: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_MISSING: Final = frozenset({"3F000", "42P01", "42703"})  # no such schema, table, column
_DAMAGED: Final = frozenset({"XX001", "XX002"})


class PostgreSQLBackend(Backend):
    """PostgreSQL through asyncpg or psycopg: a primary and its streaming standbys."""

    network: Network | None = driver
    roles: Roles | None = roles
    fences: Fences | None = fences
    migrations: Migrations | None = PostgreSQLMigrations()
    unit = "bytes"

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

    def is_idle(self, connection: Connection) -> bool:
        return engines.is_idle(connection)

    def incarnation(self, connection: Connection) -> str:
        return position.incarnation(connection)

    def position(self, connection: Connection) -> Bookmark | None:
        return position.position(connection)

    def seen(self, connection: Connection) -> Bookmark | None:
        return position.seen(connection)

    def reached(self, connection: Connection) -> Bookmark | None:
        return position.reached(connection)

    def written(self, connection: Connection) -> Bookmark | None:
        return position.written(connection)

    def committed(self, connection: Connection, *, wrote: bool) -> Bookmark | None:
        return position.committed(connection, wrote=wrote)

    def wait_until(self, connection: Connection, need: Bookmark, seconds: float) -> bool:
        return waiting.wait_until(connection, need, seconds)

    def behind(self, at: Bookmark, head: Bookmark) -> int | None:
        return roles.behind(at, head)

    def place(self, at: Bookmark) -> str:
        return f"{roles.lsn(roles.latest(at))} on timeline {current(at)}"

    def replayed(self, connection: Connection) -> float | None:
        return position.replayed(connection)

    def caveat(self, connection: Connection) -> str | None:
        return position.caveat(connection)

    def is_retryable(self, error: DBAPIError) -> bool:
        return sqlstate(error) in _CONFLICTS

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

    def is_missing(self, error: DBAPIError) -> bool:
        return sqlstate(error) in _MISSING

    def renew(self, connection: Connection, error: DBAPIError) -> bool:
        return renew(connection, error)

    def is_read_only(self, error: DBAPIError) -> bool:
        return sqlstate(error) == "25006"
