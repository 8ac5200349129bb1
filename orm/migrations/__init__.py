"""Forward-only migrations on Alembic.

The whole of an ``alembic/env.py``::

    from models import Base
    from orm import migrations

    migrations.run(Base.metadata)
"""

from orm.migrations.environment import run
from orm.migrations.target import target_url

__all__ = ["run", "target_url"]
