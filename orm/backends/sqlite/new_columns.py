"""New columns that the rows of a table would have no value for."""

import ast
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from alembic.ddl.base import AddColumn
from sqlalchemy import Column, Connection, Dialect, func, inspect, select, table

from orm.exceptions import MigrationError

__all__ = ["refuse_column_without_values", "refuse_files_without_values"]

_KEEP_ROWS: Final = frozenset(
    "add_column alter_column create_check_constraint create_exclude_constraint create_foreign_key "
    "create_index create_primary_key create_table create_table_comment create_unique_constraint "
    "drop_column drop_constraint drop_index drop_table_comment".split()
)
"""Operations that neither add nor take rows of a table that is there already."""
_VALUES: Final = frozenset({"Computed", "Identity"})


# Before the first revision runs ------------------------------------------------------------


def refuse_files_without_values(connection: Connection, files: Iterable[Path]) -> None:
    """Refuse NOT NULL columns without a default, on tables that have rows, before anything runs.

    The files are read, not run, and as far only as rows neither come nor go; what comes later is
    found when it is about to run.

    Args:
        connection: to the database.
        files: the revisions that are about to be applied, in their order.

    Raises:
        MigrationError: names the file, the table, its rows, and what to do instead.
    """
    there = set(inspect(connection).get_table_names())
    if not there:
        return
    for file in files:
        for name, column in _bare_columns(file):
            if name is None:
                return
            rows = _rows(connection, name) if name in there and column else 0
            if rows:
                raise MigrationError(
                    f"{file.name}: {_message(name, column, rows, _BARE)}; nothing was changed"
                )


_BARE: Final = "it is NOT NULL and has no default"


def _bare_columns(file: Path) -> Iterator[tuple[str | None, str]]:
    """Table and column of each; (None, "") where what follows can no longer be told."""
    statements = [
        statement
        for node in ast.parse(file.read_bytes(), file.name).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
        for statement in node.body
    ]
    for statement in statements:
        match statement:
            case ast.With(
                [ast.withitem(ast.Call(_, [ast.Constant(str(name))]) as call, ast.Name(batch))],
                inner,
            ) if _operation_of("op", call) == "batch_alter_table":
                for node in inner:
                    yield from _in_statement(node, batch, [ast.Constant(name)])
            case _:
                yield from _in_statement(statement, "op", [])


def _in_statement(
    node: ast.stmt, receiver: str, table: list[ast.expr]
) -> Iterator[tuple[str | None, str]]:
    match node:
        case ast.Pass() | ast.Expr(ast.Constant()):  # a docstring
            return
        case ast.Expr(ast.Call() as call):
            operation = _operation_of(receiver, call)
            if operation == "add_column":
                yield from _added([*table, *call.args])
            if operation in _KEEP_ROWS:
                return
    yield None, ""


def _operation_of(receiver: str, call: ast.Call) -> str | None:
    """`x` of ``receiver.x(…)``; None for anything else, and in another schema."""
    elsewhere = any(
        option.arg == "schema" and ast.unparse(option.value) != "None" for option in call.keywords
    )
    match call.func:
        case ast.Attribute(ast.Name(name), operation) if name == receiver and not elsewhere:
            return operation
    return None


def _added(arguments: list[ast.expr]) -> Iterator[tuple[str, str]]:
    match arguments:
        case [
            ast.Constant(str(name)),
            ast.Call(
                ast.Attribute(ast.Name("sa"), "Column"),
                [ast.Constant(str(column)), *rest],
                keywords,
            ),
            *_,
        ]:
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in keywords}
            filled = "server_default" in options or any(
                isinstance(part, ast.Attribute) and part.attr in _VALUES
                for given in rest
                for part in ast.walk(given)
            )
            if options.get("nullable") == "False" and not filled:
                yield name, column


# When it is about to run -------------------------------------------------------------------


def refuse_column_without_values(
    connection: Connection, name: str, added: Iterable[Column[Any]], *, native: bool
) -> None:
    """Refuse new columns that the rows of the table would have no value for."""
    for column in added:
        reason = _reason(column, connection.dialect, native=native)
        if reason is None:
            continue
        rows = _rows(connection, name)
        if rows:
            raise MigrationError(_message(name, column.name, rows, reason))


def _rows(connection: Connection, name: str) -> int:
    return connection.execute(select(func.count()).select_from(table(name))).scalar_one()


def _message(table: str, column: str, rows: int, reason: str) -> str:
    return (
        f"column {column} cannot be added to {table}, which has {rows} row(s): {reason}. Add it "
        f"nullable and without this default, fill it with op.execute('UPDATE {table} SET {column} "
        "= …'), then set nullable=False or the default with batch.alter_column; or give it a "
        "constant server_default"
    )


def _reason(column: Column[Any], dialect: Dialect, *, native: bool) -> str | None:
    """What SQLite has against the column on a table with rows."""
    if not native:  # values are copied, so a default may be any expression
        lacks = not column.nullable and column.server_default is None and not column.primary_key
        return _BARE if lacks else None
    statement = str(AddColumn("t", column).compile(dialect=dialect))
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1);")
        try:
            scratch.execute(statement)
        except sqlite3.OperationalError as error:
            if "NOT NULL" in str(error) or "non-constant" in str(error):
                return str(error)
    return None  # or it is something that is wrong without any rows, too
