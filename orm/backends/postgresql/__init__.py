"""PostgreSQL through asyncpg or psycopg."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orm.backends.base import FileCopy, Thing
from orm.backends.postgresql import migrating
from orm.backends.postgresql.definitions import definitions
from orm.backends.postgresql.explain import explain
from orm.backends.postgresql.restore_point import restore_point
from orm.backends.postgresql.scratch import scratch
from orm.backends.squawk import lint
from orm.bookmark import Bookmark

__all__ = ["PostgreSQLBackend"]


class PostgreSQLBackend:
    """PostgreSQL. Implements `orm.backends.Backend`."""

    reserved_tables: frozenset[str] = frozenset()
    all_ddl_is_transactional = False
    new_columns_need_constants = False

    def writer_engine(self, url: URL, **options: Any) -> AsyncEngine:
        return create_async_engine(url, **options)

    def reader_engine(self, url: URL, **options: Any) -> AsyncEngine:
        return create_async_engine(url, isolation_level="AUTOCOMMIT", **options)

    def snapshot_engine(self, reader: AsyncEngine) -> Engine:
        return reader.sync_engine.execution_options(isolation_level="REPEATABLE READ")

    def migration_engine(self, url: URL, **options: Any) -> Engine | AsyncEngine:
        return migrating.migration_engine(url, **options)

    def migrating(self, connection: Connection) -> AbstractContextManager[None]:
        return migrating.migrating(connection)

    def is_absent(self, url: URL) -> bool:
        return False

    def prepare(self, connection: Connection) -> None:
        pass

    def faults(self, connection: Connection) -> Counter[str]:
        return migrating.faults(connection)

    def verify(self, connection: Connection, known: Counter[str]) -> None:
        migrating.verify(connection)

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
        return ""

    def position(self, connection: Connection) -> Bookmark | None:
        return None

    def seen(self, connection: Connection) -> Bookmark | None:
        return None

    def committed(self, connection: Connection) -> Bookmark | None:
        return None

    def is_unavailable(self, error: DBAPIError) -> bool:
        return False

    def is_damaged(self, error: DBAPIError) -> bool:
        return False

    def is_read_only(self, error: DBAPIError) -> bool:
        return False

    def file_copies(self, primary: URL, count: int) -> Sequence[FileCopy]:
        return []
