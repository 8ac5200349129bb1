"""How Alembic's operations alter columns on PostgreSQL, where they would not see what is lost.

To import this module is to use it: Alembic takes the newest subclass of its ``DefaultImpl`` for a
dialect.
"""

from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl

from orm.backends.labels import only_labels_change, refuse_lost_labels

__all__ = ["KeepingPostgreSQLImpl"]


class KeepingPostgreSQLImpl(PostgresqlImpl):
    """Alembic's PostgreSQL, but for labels of enums that are strings."""

    __dialect__ = "postgresql"

    def alter_column(
        self,
        table_name: str,
        column_name: str,
        *,
        type_: Any = None,
        existing_type: Any = None,
        schema: str | None = None,
        **options: Any,
    ) -> None:
        if type_ is not None and self.connection is not None and not self.as_sql:
            where = schema, table_name, column_name
            refuse_lost_labels(self.connection, where, existing_type, type_)
        if only_labels_change(existing_type, type_, self.dialect):
            type_ = None  # a view on the column would stand in the way of a change that is none
        super().alter_column(
            table_name,
            column_name,
            type_=type_,
            existing_type=existing_type,
            schema=schema,
            **options,
        )
