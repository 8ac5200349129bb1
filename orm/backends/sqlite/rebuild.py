"""Table rebuilds on SQLite that lose nothing in silence.

SQLite cannot alter most of a table, so Alembic's batch mode makes a new one, copies the rows, drops
the old one and gives the new one its name. What reflection does not see, or ``DROP TABLE`` takes
along, would be gone. Here it is put on the new table, made again from its own SQL, or the rebuild
is refused before it begins to copy.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from alembic.operations.batch import ApplyBatchImpl
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DefaultClause,
    Table,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import DBAPIError

from orm.backends.sqlite.broken import broken
from orm.backends.sqlite.carrying import carry_over, would_lose
from orm.backends.sqlite.new_columns import refuse_column_without_values
from orm.backends.sqlite.schema import Clause, definition_of, quoted
from orm.backends.sqlite.values import in_new_form
from orm.exceptions import MigrationError

__all__ = [
    "Rebuild",
    "finish",
    "keep_counting",
    "names_may_dangle",
    "prepare",
    "rename_column",
]

_KEEP_COUNTING: Final = (
    text("DELETE FROM sqlite_sequence WHERE name = :new"),
    text(
        "INSERT INTO sqlite_sequence"
        " SELECT :new, seq FROM sqlite_sequence WHERE lower(name) = lower(:old)"
    ),
)
"""The largest id that AUTOINCREMENT has given, for the new table; it is renamed with the table."""


@dataclass
class Rebuild:
    """One rebuild, from the old table's definition to the new one."""

    table: str
    old: Table
    temporary: str
    clauses: list[Clause]
    """What the new table must say as the old one did."""
    dependents: list[tuple[str, str, str]]
    """Kind, name and SQL of the indexes and triggers that go with the old table."""
    broken: set[str]
    """Views and triggers that did not work before, which is not the rebuild's affair."""
    counts: bool
    """Whether AUTOINCREMENT gives its ids, before and after."""
    renamed: list[tuple[str, str, Column[Any]]]
    """Old name, new name and column of the new table."""
    copied: dict[str, ColumnElement[Any]]
    """What is copied into each column of the new table."""


def _ask(connection: Connection, sql: str, *parameters: object) -> list[Any]:
    return list(connection.exec_driver_sql(sql, parameters).all())


def _do(connection: Connection, sql: str, *parameters: object) -> None:
    connection.exec_driver_sql(sql, parameters)


# Before the new table is made --------------------------------------------------------------


def prepare(connection: Connection, batch: ApplyBatchImpl, table: Table) -> Rebuild:
    """Look at a table before the batch makes the new one; change the batch so that nothing is lost.

    Args:
        connection: to the database.
        batch: Alembic's, which has the columns of the new table by now.
        table: the old one, as it is.

    Raises:
        MigrationError: the rebuild would lose something, or a row does not fit into the new table.
    """
    name, new = str(table.name), batch.new_table
    assert new is not None
    _refuse_leftover(connection, name, batch.temp_table_name)
    there = {column["name"].casefold(): column for column in inspect(connection).get_columns(name)}
    _refuse_unknown(name, there.keys() - {column.name.casefold() for column in table.c})
    renamed = _put_off_renames(batch, table)
    # `copy_from` says all of the new table, and the old one may lack some of its columns.
    clauses = carry_over(connection, batch, table) if batch.reflected else []
    copied = _transfer(connection, batch, table, there)
    gone = there.keys() - {column.name.casefold() for column in new.c}
    return Rebuild(
        name,
        table,
        batch.temp_table_name,
        clauses,
        _dependents(connection, batch, table, gone),
        broken(connection),
        _counts(connection, name) and bool(new.dialect_options["sqlite"]["autoincrement"]),
        renamed,
        copied,
    )


def _transfer(
    connection: Connection,
    batch: ApplyBatchImpl,
    table: Table,
    there: Mapping[str, ReflectedColumn],
) -> dict[str, ColumnElement[Any]]:
    """Copy the values of columns that are there, in the form in which the new ones keep them."""
    added: list[Column[Any]] = []
    copied: dict[str, ColumnElement[Any]] = {}
    transfers = cast("Mapping[str, dict[str, Any]]", batch.column_transfers)
    for key, transfer in transfers.items():
        column = batch.columns[key]
        old = there.get(table.c[key].name.casefold()) if "expr" in transfer else None
        if old is None or column.computed is not None:  # nothing can be inserted there
            transfer.pop("expr", None)
            added.append(column)
        else:
            value, where = table.c[key], f"{table.name}.{key}"
            if old["nullable"] and not column.nullable:
                _refuse_null(connection, where, value)
            copied[column.name] = transfer["expr"] = in_new_form(
                connection, where, value, old["type"], column.type
            )
    refuse_column_without_values(connection, str(table.name), added, native=False)
    if not copied:  # each row stays, with what new ones get
        column = next(column for column in added if column.computed is None)
        one = next(of for of in table.c if of.name.casefold() in there)
        transfers[column.key]["expr"] = _new_value(column, one)
    return copied


def _new_value(column: Column[Any], other: Column[Any]) -> ColumnElement[Any]:
    """What a row gets in a column without a value; `other` is of the table that has the rows."""
    nothing = func.nullif(other, other)
    default = column.server_default
    if not isinstance(default, DefaultClause):
        return nothing  # an id is given for it
    value = default.arg
    return func.coalesce(nothing, value if isinstance(value, str) else value.self_group())


def _put_off_renames(batch: ApplyBatchImpl, table: Table) -> list[tuple[str, str, Column[Any]]]:
    """Let columns have their old names until `finish`: old name, new name and column."""
    assert batch.new_table is not None
    renamed: list[tuple[str, str, Column[Any]]] = []
    for key, column in batch.columns.items():
        if key in table.c and column.name != key:
            if any(other.name == key for other in batch.new_table.c):
                raise MigrationError(
                    f"{table.name}: {key} is renamed and another column takes its name in one "
                    "batch: rename it in a batch_alter_table of its own"
                )
            renamed.append((key, column.name, column))
            column.name = key
    return renamed


def _dependents(
    connection: Connection, batch: ApplyBatchImpl, table: Table, gone: Set[str]
) -> list[tuple[str, str, str]]:
    """The indexes and triggers to make again; they are no longer Alembic's to make."""
    rows = _ask(
        connection,
        "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = lower(?)"
        " AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY rowid",
        str(table.name),
    )
    said = {str(index.name) for index in table.indexes}
    kept: list[tuple[str, str, str]] = []
    for kind, name, sql in rows:
        if kind == "index":
            if name in said and (name not in batch.indexes or not batch.reflected):
                continue  # it is dropped, or `copy_from` says it anew
            batch.indexes.pop(name, None)
            columns = _ask(connection, "SELECT name FROM pragma_index_info(?)", name)
            if any(column and column.casefold() in gone for (column,) in columns):
                continue
        kept.append((kind, name, sql))
    return kept


def _counts(connection: Connection, table: str) -> bool:
    return any(one.kind == "AUTOINCREMENT" for one in definition_of(connection, table))


# While the old table gives its place to the new one ----------------------------------------


def keep_counting(connection: Connection, rebuild: Rebuild) -> None:
    """Let AUTOINCREMENT go on after the largest id that it has given in the old table."""
    if rebuild.counts:
        # In SQL alone, so that it is the same in a script, whatever the rows are.
        names = {"old": rebuild.table, "new": rebuild.temporary}
        for statement in _KEEP_COUNTING:
            connection.execute(statement, names)


@contextmanager
def names_may_dangle(connection: Connection) -> Iterator[None]:
    """Let a table be renamed while views and triggers name another one that is gone.

    RENAME would fail otherwise (SQLite "ALTER TABLE RENAME").
    """
    [(legacy,)] = _ask(connection, "PRAGMA legacy_alter_table")
    _do(connection, "PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        _do(connection, f"PRAGMA legacy_alter_table = {legacy}")


# After it has its name ---------------------------------------------------------------------


def finish(connection: Connection, rebuild: Rebuild) -> None:
    """See that the new table has all that the old one had; give it its indexes and triggers.

    Raises:
        MigrationError: something is lost, or a view or trigger would not work any more.
    """
    table = rebuild.table
    now = definition_of(connection, table)
    said = Counter(clause.meaning for clause in now)
    for clause in rebuild.clauses:
        if not said[clause.meaning]:
            raise would_lose(
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
        rename_column(connection, table, old, new)
        column.name = new
    newly_broken = sorted(broken(connection) - rebuild.broken)
    if newly_broken:
        raise MigrationError(
            f"the rebuild of {table} would break {', '.join(newly_broken)}: drop it in this "
            "revision before the batch, and create it after the batch as it shall be then"
        )


def rename_column(connection: Connection, table: str, old: str, new: str) -> None:
    """By SQLite itself: it follows into indexes, triggers, views and other tables' references."""
    _do(connection, f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(old)} TO {quoted(new)}")


# Refusals ----------------------------------------------------------------------------------


def _refuse_null(connection: Connection, where: str, value: Column[Any]) -> None:
    without = select(func.count()).select_from(value.table).where(value.is_(None))
    count = connection.scalar(without.execution_options(probe=True))
    if count:
        raise MigrationError(
            f"{where} cannot become NOT NULL: {count} row(s) have NULL there. Update or delete "
            "these rows in the same revision, before the column changes"
        )


def _refuse_unknown(table: str, columns: Set[str]) -> None:
    if columns:
        drops = "; ".join(f"op.drop_column({table!r}, {name!r})" for name in sorted(columns))
        raise MigrationError(
            f"the rebuild of {table} would lose what its revision does not know of: column "
            f"{', '.join(sorted(columns))}. If it was added by hand, add it to the table "
            f"of copy_from to keep it, or drop it before the batch: {drops}"
        )


def _refuse_leftover(connection: Connection, table: str, temporary: str) -> None:
    if _ask(connection, "SELECT 1 FROM sqlite_master WHERE lower(name) = lower(?)", temporary):
        raise MigrationError(
            f"{table} cannot be rebuilt: {temporary} is in the way. A rebuild outside of a "
            "transaction left it over; see whether it holds rows that are missing elsewhere, then "
            f"drop it: DROP TABLE {temporary}"
        )
