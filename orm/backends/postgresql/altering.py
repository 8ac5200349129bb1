"""How Alembic's operations alter columns on PostgreSQL, where they would not see what is lost.

To import this module is to use it: Alembic takes the newest subclass of its ``DefaultImpl`` for a
dialect.
"""

from alembic.ddl.postgresql import PostgresqlImpl

from orm.backends.altering import KeepingLabels

__all__ = ["KeepingPostgreSQLImpl"]


class KeepingPostgreSQLImpl(KeepingLabels, PostgresqlImpl):
    """Alembic's PostgreSQL, but for labels of enums that are strings."""

    __dialect__ = "postgresql"
