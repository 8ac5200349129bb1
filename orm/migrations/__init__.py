"""Forward-only migrations on Alembic.

The whole of an ``alembic/env.py``::

    from models import Base
    from orm import migrations

    migrations.run(Base.metadata)

And in an application, at its start or in its tests::

    await migrations.apply("local")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orm.migrations.applying import apply
    from orm.migrations.environment import run
    from orm.migrations.target import target_url

__all__ = ["apply", "run", "target_url"]

_MODULES: Final = {
    "apply": "orm.migrations.applying",
    "run": "orm.migrations.environment",
    "target_url": "orm.migrations.target",
}


def __getattr__(name: str) -> Any:
    # Alembic is imported by who needs it: it takes longer than most of what is asked in a terminal.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
