"""PostgreSQL through asyncpg or psycopg."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.postgresql.backend import PostgreSQLBackend

__all__ = ["PostgreSQLBackend"]

__getattr__: Callable[[str], Any] = lazy(
    __name__, {"PostgreSQLBackend": "orm.backends.postgresql.backend"}
)
