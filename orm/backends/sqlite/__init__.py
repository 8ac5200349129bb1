"""SQLite through aiosqlite, with replicas that are files."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.sqlite.backend import SQLiteBackend
    from orm.backends.sqlite.visits import one_visit

__all__ = ["SQLiteBackend", "one_visit"]

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "SQLiteBackend": "orm.backends.sqlite.backend",
        "one_visit": "orm.backends.sqlite.visits",
    },
)
