"""How Alembic's operations alter tables on SQLite: in place, or by a rebuild that loses nothing.

To import this module is to use it: Alembic takes the newest subclass of its ``DefaultImpl`` for a
dialect.
"""

import warnings
from typing import Any, Final

from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations.batch import ApplyBatchImpl, BatchOperationsImpl
from alembic.operations.ops import AlterColumnOp
from alembic.util import CommandError
from sqlalchemy import Column, Connection, Index, Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import TypeEngine

from orm.backends.sqlite.duplicates import refuse_duplicates, refuse_duplicates_of
from orm.backends.sqlite.in_place import is_in_place, keeps_type, refuse_in_place
from orm.backends.sqlite.new_columns import refuse_column_without_values
from orm.backends.sqlite.rebuild import (
    Rebuild,
    finish,
    keep_counting,
    names_may_dangle,
    prepare,
    rename_column,
)

__all__ = ["KeepingSQLiteImpl"]

# What Alembic and SQLAlchemy would leave out with a warning, and what is kept here.
_NOT_SO: Final = (
    "Unnamed CHECK constraint on reflected table",
    "Skipped unsupported reflection of expression-based index",
    "WARNING: SQL-parsed foreign key constraint .* could not be located",
)


class KeepingSQLiteImpl(SQLiteImpl):
    """Alembic's SQLite, but for what its rebuilds of tables lose."""

    __dialect__ = "sqlite"

    _rebuild: Rebuild | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.connection is not None and not self.context_opts.get("dont_mutate"):
            for message in _NOT_SO:
                warnings.filterwarnings("ignore", message=message)

    def add_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        if not self.as_sql:
            refuse_column_without_values(self._connection, table_name, [column], native=True)
        super().add_column(table_name, column, **options)

    def requires_recreate_in_batch(self, batch_op: BatchOperationsImpl) -> bool:
        """Whether the table has to be rebuilt, which a new name or other labels do not need."""
        database = None if self.as_sql else self._connection
        return super().requires_recreate_in_batch(batch_op) and not is_in_place(batch_op, database)

    def alter_column(
        self,
        table_name: str,
        column_name: str,
        *,
        type_: Any = None,
        name: str | None = None,
        nullable: bool | None = None,
        server_default: Any = False,
        **options: Any,
    ) -> None:
        if type_ is not None and not self.as_sql:
            keeps = keeps_type(self._connection, table_name, column_name, type_)
            type_ = None if keeps else type_
        if type_ is not None or nullable is not None or server_default is not False:
            change = AlterColumnOp(
                table_name,
                column_name,
                existing_type=options.get("existing_type"),
                modify_type=type_,
                modify_nullable=nullable,
                modify_server_default=server_default,
                modify_name=name,
            )
            refuse_in_place(change, self.dialect)
        if name is not None and not self.as_sql:
            super().alter_column(table_name, column_name, type_=type_, **options)
            rename_column(self._connection, table_name, column_name, name)
            return
        super().alter_column(table_name, column_name, type_=type_, name=name, **options)

    def cast_for_batch_migrate(
        self, existing: Column[Any], existing_transfer: dict[str, Any], new_type: TypeEngine[Any]
    ) -> None:
        """Nothing: `orm.backends.sqlite.values` knows better than ``CAST``."""

    def prep_table_for_batch(self, batch_impl: ApplyBatchImpl, table: Table) -> None:
        super().prep_table_for_batch(batch_impl, table)
        if self.as_sql:
            raise CommandError(
                f"the rebuild of {table.name} needs the database: it keeps triggers and the like"
            )
        self._rebuild = prepare(self._connection, batch_impl, table)

    def drop_table(self, table: Table, **options: Any) -> None:
        rebuild = self._rebuild
        if rebuild is not None and table.name == rebuild.temporary:  # the rows do not fit into it
            super().drop_table(table, **options)
            refuse_duplicates(self._connection, rebuild.old, table, rebuild.copied)
            return
        if rebuild is not None and table.name == rebuild.table:
            keep_counting(self._connection, rebuild)
        super().drop_table(table, **options)

    def create_index(self, index: Index, **options: Any) -> None:
        try:
            super().create_index(index, **options)
        except IntegrityError:
            refuse_duplicates_of(self._connection, index)
            raise

    def rename_table(self, old_table_name: str, *arguments: Any, **options: Any) -> None:
        rebuild = self._rebuild
        if rebuild is None or old_table_name != rebuild.temporary:
            super().rename_table(old_table_name, *arguments, **options)
            return
        self._rebuild = None
        with names_may_dangle(self._connection):
            super().rename_table(old_table_name, *arguments, **options)
        finish(self._connection, rebuild)

    @property
    def _connection(self) -> Connection:
        assert self.connection is not None
        return self.connection
