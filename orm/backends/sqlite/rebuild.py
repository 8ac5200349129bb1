"""Table rebuilds on SQLite that lose nothing in silence.

SQLite cannot alter most of a table, so Alembic's batch mode makes a new one, copies the rows, drops
the old one and gives the new one its name. What reflection does not see, or ``DROP TABLE`` takes
along, would be gone. Here it is put on the new table, made again from its own SQL, or the rebuild
is refused before it begins to copy.

To import this module is to use it: Alembic takes the newest subclass of its ``DefaultImpl`` for a
dialect.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations.batch import ApplyBatchImpl
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Connection,
    ForeignKeyConstraint,
    String,
    Table,
    text,
)
from sqlalchemy.exc import DBAPIError

from orm.backends.sqlite.broken import broken
from orm.backends.sqlite.new_columns import refuse_column_without_values
from orm.backends.sqlite.schema import Clause, clauses, quoted
from orm.exceptions import MigrationError

__all__ = ["KeepingSQLiteImpl"]

# What Alembic and SQLAlchemy would leave out with a warning, and what is kept here.
_NOT_SO: Final = (
    "Unnamed CHECK constraint on reflected table",
    "Skipped unsupported reflection of expression-based index",
)

_KEEP_COUNTING: Final = (
    text("DELETE FROM sqlite_sequence WHERE name = :new"),
    text(
        "INSERT INTO sqlite_sequence"
        " SELECT :new, seq FROM sqlite_sequence WHERE lower(name) = lower(:old)"
    ),
)
"""The largest id that AUTOINCREMENT has given, for the new table; it is renamed with the table."""


@dataclass
class _Rebuild:
    """One rebuild, from the old table's definition to the new one."""

    table: str
    temporary: str
    before: list[Clause]
    dependents: list[tuple[str, str, str]]
    """Kind, name and SQL of the indexes and triggers that go with the old table."""
    broken: set[str]
    """Views and triggers that did not work before, which is not the rebuild's affair."""
    counts: bool
    """Whether AUTOINCREMENT gives its ids."""
    renamed: list[tuple[str, str, Column[Any]]] = field(default_factory=list)
    """Old name, new name and column of the new table."""


class KeepingSQLiteImpl(SQLiteImpl):
    """Alembic's SQLite, but for what its rebuilds of tables lose."""

    __dialect__ = "sqlite"

    _rebuild: _Rebuild | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.connection is not None and not self.context_opts.get("dont_mutate"):
            for message in _NOT_SO:
                warnings.filterwarnings("ignore", message=message)

    def add_column(self, table_name: str, column: Column[Any], **options: Any) -> None:
        if not self.as_sql:
            refuse_column_without_values(self._connection, table_name, [column], native=True)
        super().add_column(table_name, column, **options)

    def prep_table_for_batch(self, batch_impl: ApplyBatchImpl, table: Table) -> None:
        super().prep_table_for_batch(batch_impl, table)
        if not self.as_sql:
            self._rebuild = _prepare(self._connection, batch_impl, table)

    def drop_table(self, table: Table, **options: Any) -> None:
        rebuild = self._rebuild
        if rebuild is not None and table.name == rebuild.table and rebuild.counts:
            # In SQL alone, so that it is the same in a script, whatever the rows are.
            names = {"old": rebuild.table, "new": rebuild.temporary}
            for statement in _KEEP_COUNTING:
                self._connection.execute(statement, names)
        super().drop_table(table, **options)

    def rename_table(self, old_table_name: str, *arguments: Any, **options: Any) -> None:
        rebuild = self._rebuild
        if rebuild is None or old_table_name != rebuild.temporary:
            super().rename_table(old_table_name, *arguments, **options)
            return
        self._rebuild = None
        connection = self._connection
        # Otherwise views and triggers that name the table, which is gone for this moment, would
        # make RENAME fail (SQLite "ALTER TABLE RENAME").
        [(legacy,)] = _ask(connection, "PRAGMA legacy_alter_table")
        _do(connection, "PRAGMA legacy_alter_table = ON")
        try:
            super().rename_table(old_table_name, *arguments, **options)
        finally:
            _do(connection, f"PRAGMA legacy_alter_table = {legacy}")
        _finish(connection, rebuild)

    @property
    def _connection(self) -> Connection:
        assert self.connection is not None
        return self.connection


def _ask(connection: Connection, sql: str, *parameters: object) -> list[Any]:
    return list(connection.exec_driver_sql(sql, parameters).all())


def _do(connection: Connection, sql: str, *parameters: object) -> None:
    connection.exec_driver_sql(sql, parameters)


def _definition(connection: Connection, table: str) -> list[Clause]:
    [(sql,)] = _ask(
        connection,
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)",
        table,
    )
    return clauses(sql)


# Before the new table is made --------------------------------------------------------------


def _prepare(connection: Connection, batch: ApplyBatchImpl, table: Table) -> _Rebuild:
    name, new = str(table.name), batch.new_table
    assert new is not None
    _refuse_leftover(connection, name, batch.temp_table_name)
    added = [column for key, column in batch.columns.items() if key not in table.c]
    refuse_column_without_values(connection, name, added, native=False)

    dropped = {column.name.casefold() for column in table.c if column.key not in batch.columns}
    before = [
        clause
        for clause in _definition(connection, name)
        if not _goes(clause, batch, table, dropped)
    ]
    rebuild = _Rebuild(
        name,
        batch.temp_table_name,
        before,
        _dependents(connection, batch, table, dropped),
        broken(connection),
        any(clause.kind == "AUTOINCREMENT" for clause in before),
    )
    for key, column in batch.columns.items():
        if key in table.c and column.name != key:
            if any(other.name == key for other in new.c):
                raise MigrationError(
                    f"{name}: {key} is renamed and another column takes its name in one batch: "
                    "rename it in a batch_alter_table of its own"
                )
            rebuild.renamed.append((key, column.name, column))
            column.name = key  # until `_finish`

    _keep_checks(new, batch, table, before)
    for clause in before:
        _put(clause, new)
    for column in new.c:
        if isinstance(column.server_default, Computed):  # nothing can be inserted there
            batch.column_transfers[column.key].pop("expr", None)
    said = {
        str(constraint.name)
        for constraint in batch.named_constraints.values()
        if constraint not in table.constraints
    }
    _keep_actions(connection, name, new, said)
    return rebuild


def _goes(clause: Clause, batch: ApplyBatchImpl, table: Table, dropped: set[str]) -> bool:
    """Whether what was asked for takes the clause along."""
    if clause.column is not None and clause.column.casefold() in dropped:
        return True
    dropped_names = {
        str(constraint.name).casefold()
        for constraint in table.constraints
        if constraint.name and constraint.name not in batch.named_constraints
    }
    return clause.constraint is not None and clause.constraint.casefold() in dropped_names


def _dependents(
    connection: Connection, batch: ApplyBatchImpl, table: Table, dropped: set[str]
) -> list[tuple[str, str, str]]:
    """The indexes and triggers to make again; they are no longer Alembic's to make."""
    rows = _ask(
        connection,
        "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = lower(?)"
        " AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
        str(table.name),
    )
    reflected = {str(index.name) for index in table.indexes}
    kept: list[tuple[str, str, str]] = []
    for kind, name, sql in rows:
        if kind == "index":
            asked = name in reflected and name not in batch.indexes
            batch.indexes.pop(name, None)
            columns = _ask(connection, "SELECT name FROM pragma_index_info(?)", name)
            if asked or any(column and column.casefold() in dropped for (column,) in columns):
                continue
        kept.append((kind, name, sql))
    return kept


def _put(clause: Clause, new: Table) -> None:
    """Say it of the new table too, if SQLAlchemy has a word for it; `_finish` looks for the rest"""
    match clause.kind:
        case "AUTOINCREMENT":
            new.dialect_options["sqlite"]["autoincrement"] = True
        case "COLLATE" | "AS":
            [column] = [c for c in new.c if c.name.casefold() == str(clause.column).casefold()]
            if clause.kind == "AS" and column.computed is not None:
                column.computed.sqltext = text(clause.text.replace(":", r"\:"))
            elif clause.kind == "COLLATE" and isinstance(column.type, String):
                column.type = column.type.copy()
                column.type.collation = column.type.collation or clause.text
        case _:
            pass


def _keep_checks(new: Table, batch: ApplyBatchImpl, table: Table, before: list[Clause]) -> None:
    """Give the new table the CHECKs of the old one, word for word."""
    if not batch.reflected:
        return
    old = {
        str(constraint.name)
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint) and constraint.name
    }
    restated = any(isinstance(argument, CheckConstraint) for argument in batch.table_args)
    for constraint in list(new.constraints):
        if isinstance(constraint, CheckConstraint) and str(constraint.name) in old:
            new.constraints.remove(constraint)
    altered = {
        column.name.casefold()
        for column in table.c
        if column.key in batch.columns and repr(batch.columns[column.key].type) != repr(column.type)
    }
    survivors = {column.name.casefold() for column in new.c}
    gone = {column.name.casefold() for column in table.c} - survivors
    for clause in [clause for clause in before if clause.kind == "CHECK"]:
        if clause.constraint is None:
            if restated or (clause.words & gone and not clause.words & survivors):
                before.remove(clause)
                continue
            if clause.words & altered:
                _refuse(
                    table.name,
                    clause,
                    "it may have to change with the type of its column. Say what shall hold: "
                    "batch_alter_table(…, table_args=(sa.CheckConstraint(…, name=…),))",
                )
        if clause.words & gone:
            _refuse(
                table.name,
                clause,
                "it names a column that is dropped. Drop it by its name, or say what shall hold: "
                "batch_alter_table(…, table_args=(sa.CheckConstraint(…, name=…),))",
            )
        new.append_constraint(
            CheckConstraint(text(clause.text.replace(":", r"\:")), name=clause.constraint)
        )


def _keep_actions(connection: Connection, table: str, new: Table, said: set[str]) -> None:
    """ON DELETE and ON UPDATE, which are reflected for named references only.

    Args:
        connection: to the database.
        table: the old table's name.
        new: the new table.
        said: the names of constraints that the batch itself makes, which say all of their actions.
    """
    rows = _ask(
        connection,
        'SELECT id, lower("table"), lower("from"), on_delete, on_update'
        " FROM pragma_foreign_key_list(?) ORDER BY id, seq",
        table,
    )
    actions: dict[tuple[str, tuple[str, ...]], tuple[str, str]] = {}
    for number in {row[0] for row in rows}:
        ours = [row for row in rows if row[0] == number]
        actions[ours[0][1], tuple(row[2] for row in ours)] = (ours[0][3], ours[0][4])
    for constraint in new.constraints:
        if isinstance(constraint, ForeignKeyConstraint) and str(constraint.name) not in said:
            key = (
                constraint.elements[0].target_fullname.split(".")[-2].casefold(),
                tuple(column.name.casefold() for column in constraint.columns),
            )
            on_delete, on_update = actions.get(key, ("NO ACTION", "NO ACTION"))
            if constraint.ondelete is None and on_delete != "NO ACTION":
                constraint.ondelete = on_delete
            if constraint.onupdate is None and on_update != "NO ACTION":
                constraint.onupdate = on_update


# After it has its name ---------------------------------------------------------------------


def _finish(connection: Connection, rebuild: _Rebuild) -> None:
    table = rebuild.table
    said = Counter(clause.meaning for clause in _definition(connection, table))
    for clause in rebuild.before:
        if not said[clause.meaning]:
            _refuse(
                table,
                clause,
                "it cannot be carried over. Rebuild the table in plain SQL (op.execute), which "
                "says all of its definition",
            )
        said[clause.meaning] -= 1
    for kind, name, sql in rebuild.dependents:
        try:
            _do(connection, sql)
        except DBAPIError as error:
            raise MigrationError(
                f"the rebuild of {table} would lose its {kind} {name} ({error.orig}): drop it in "
                f"this revision before the batch, op.execute('DROP {kind.upper()} {name}'), and "
                "create it again after it if it shall stay"
            ) from error
    for old, new, column in rebuild.renamed:
        # By SQLite itself: it follows into indexes, triggers, views and other tables' references.
        _do(
            connection,
            f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(old)} TO {quoted(new)}",
        )
        column.name = new
    newly_broken = sorted(broken(connection) - rebuild.broken)
    if newly_broken:
        raise MigrationError(
            f"the rebuild of {table} would break {', '.join(newly_broken)}: drop it in this "
            "revision before the batch, with op.execute('DROP …'), and create it after the batch "
            "as it shall be then"
        )


# Refusals ----------------------------------------------------------------------------------


def _refuse(table: str, clause: Clause, why: str) -> NoReturn:
    raise MigrationError(f"the rebuild of {table} would lose {clause}: {why}")


def _refuse_leftover(connection: Connection, table: str, temporary: str) -> None:
    if _ask(connection, "SELECT 1 FROM sqlite_master WHERE lower(name) = lower(?)", temporary):
        raise MigrationError(
            f"{table} cannot be rebuilt: {temporary} is in the way. A rebuild outside of a "
            "transaction left it over; see whether it holds rows that are missing elsewhere, then "
            f"drop it: DROP TABLE {temporary}"
        )
