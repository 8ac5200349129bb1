"""Forward-only migrations on Alembic.

The whole of an ``alembic/env.py``::

    from models import Base
    from orm import migrations

    migrations.run(Base.metadata)

And in an application, at its start or in its tests::

    await migrations.apply("local")
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orm._lazy import lazy

if TYPE_CHECKING:
    from orm.migrations.running.applying import apply
    from orm.migrations.running.environment import run
    from orm.migrations.target import target_url

__all__ = ["apply", "run", "target_url"]

# Alembic is imported when it is needed: its import takes longer than most commands.
__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "apply": "orm.migrations.running.applying",
        "run": "orm.migrations.running.environment",
        "target_url": "orm.migrations.target",
    },
)
