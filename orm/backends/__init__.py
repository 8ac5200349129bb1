"""Database engines, found by the name in the URL through the entry point group ``orm.backends``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.backends.base import Backend, FileCopy, Thing
    from orm.backends.registry import backend_for, register

__all__ = ["Backend", "FileCopy", "Thing", "backend_for", "register"]

# `orm.backends.sqlite.quick` does without SQLAlchemy.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "Backend": "orm.backends.base",
        "FileCopy": "orm.backends.base",
        "Thing": "orm.backends.base",
        "backend_for": "orm.backends.registry",
        "register": "orm.backends.registry",
    },
)
