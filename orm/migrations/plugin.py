"""A plugin of Alembic's: stock Alembic leaves the tables of this library alone.

For projects that take only the sessions, and migrate with an ``env.py`` of their own. Alembic
loads it through its entry point ``alembic.plugins``. It is used without being asked for, since its
name there begins with ``alembic.autogenerate.``: ``autogenerate_plugins`` includes such by default.
"""

from typing import TYPE_CHECKING

from alembic.util import DispatchPriority, PriorityDispatchResult

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin

__all__ = ["setup"]


def setup(plugin: "Plugin") -> None:
    """Alembic calls this when it is imported."""
    plugin.add_autogenerate_comparator(_leave_alone, "autogenerate", priority=DispatchPriority.LAST)


def _leave_alone(context: "AutogenContext", operations: "UpgradeOps") -> PriorityDispatchResult:
    """Take back what was found to do about tables that belong to this library."""
    # Alembic is not imported yet when it imports this module.
    from alembic.operations.ops import DropTableOp, ModifyTableOps

    assert context.connection is not None
    ours = _tables(context.connection.engine.url.get_backend_name())
    operations.ops[:] = [
        one
        for one in operations.ops
        if not (isinstance(one, DropTableOp | ModifyTableOps) and one.table_name in ours)
    ]
    return PriorityDispatchResult.CONTINUE


def _tables(engine: str) -> frozenset[str]:
    from sqlalchemy import URL

    from orm.backends import migrations_for
    from orm.exceptions import ConfigurationError

    try:
        reserved = migrations_for(URL.create(engine)).reserved_tables
    except ConfigurationError:  # an engine of which this library knows nothing
        reserved = frozenset()
    return reserved | {"orm_revisions"}
