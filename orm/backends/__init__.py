"""Database engines, found by the name in the URL through the entry point group ``orm.backends``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orm.backends.base import Backend, FileCopy, Thing
    from orm.backends.registry import backend_for

__all__ = ["Backend", "FileCopy", "Thing", "backend_for"]

_MODULES: Final = {
    "Backend": "orm.backends.base",
    "FileCopy": "orm.backends.base",
    "Thing": "orm.backends.base",
    "backend_for": "orm.backends.registry",
}


def __getattr__(name: str) -> Any:
    # `orm.backends.quick` does without SQLAlchemy.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
