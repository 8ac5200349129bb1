"""How Alembic's operations alter columns of enums that a database keeps as strings.

If such an enum has lost a label, rows may still have that label, and no database refuses it.
"""

from typing import Any

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import Connection

from orm.backends.labels import only_labels_change, refuse_lost_labels

__all__ = ["KeepingLabels"]


class KeepingLabels(DefaultImpl):
    """Part of an Alembic implementation: refuses to take labels away that rows have.

    It comes before the engine's own one among the bases of a class.
    """

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
            self._refuse_lost_labels(self.connection, where, existing_type, type_)
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

    def _refuse_lost_labels(
        self, connection: Connection, where: tuple[str | None, str, str], old: Any, new: Any
    ) -> None:
        refuse_lost_labels(connection, where, old, new)
