"""PostgreSQL through asyncpg or psycopg."""

from typing import TYPE_CHECKING

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.postgresql.backend import PostgreSQLBackend

__all__ = ["PostgreSQLBackend"]

__getattr__ = lazy(__name__, {"PostgreSQLBackend": "orm.backends.postgresql.backend"})
