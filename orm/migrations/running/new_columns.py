"""New columns that existing rows have no value for, found before the first revision runs."""

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, inspect

from orm.backends.new_columns import BARE, refuse_without_values
from orm.migrations.revision import Revision

__all__ = ["refuse_revisions_without_values"]

_KEEP_ROWS: Final = frozenset(
    "add_column alter_column create_check_constraint create_exclude_constraint create_foreign_key "
    "create_index create_primary_key create_table create_table_comment create_unique_constraint "
    "drop_column drop_constraint drop_index drop_table_comment".split()
)
"""Operations that neither add nor take rows of a table that is there already."""
_VALUES: Final = frozenset({"Computed", "Identity"})


def refuse_revisions_without_values(connection: Connection, files: Iterable[Revision]) -> None:
    """Refuse NOT NULL columns without a default, on tables that have rows, before anything runs.

    The files are read, not run, up to the first statement that may add or remove rows. A later
    column is refused when it is about to be added.

    Args:
        connection: to the database.
        files: the revisions that are about to be applied, in their order.

    Raises:
        MigrationError: names the file, the table, its rows, and what to do instead.
    """
    # As they are called where the reading is, and as they are called in the database.
    there = {name: name for name in inspect(connection).get_table_names()}
    if not there:
        return
    for file in files:
        for operation, arguments in _operations(file):
            match operation, arguments:
                case "add_column", _:
                    for name, column, type_ in _bare(arguments):
                        if name in there:
                            refuse_without_values(
                                connection,
                                there[name],
                                column,
                                BARE,
                                finish=f"with op.batch_alter_table({name!r}) as batch_op: "
                                f"batch_op.alter_column({column!r}, existing_type={type_}, "
                                "nullable=False)",
                                now=name,
                                file=file.path.name,
                            )
                case "rename_table", [ast.Constant(str(old)), ast.Constant(str(new))]:
                    if old in there:
                        there[new] = there.pop(old)
                case "drop_table", [ast.Constant(str(name))]:
                    there.pop(name, None)
                case _ if operation not in _KEEP_ROWS:
                    return


def _operations(file: Revision) -> Iterator[tuple[str | None, list[ast.expr]]]:
    """Name and arguments of each of Alembic's operations; None for any other statement."""
    statements = [
        statement
        for node in ast.parse(file.text).body
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
) -> Iterator[tuple[str | None, list[ast.expr]]]:
    match node:
        case ast.Pass() | ast.Expr(ast.Constant()):  # a docstring
            return
        case ast.Expr(ast.Call() as call):
            yield _operation_of(receiver, call), [*table, *call.args]
        case _:
            yield None, []


def _operation_of(receiver: str, call: ast.Call) -> str | None:
    """`x` of ``receiver.x(…)``; None for anything else, and in another schema."""
    elsewhere = any(
        option.arg == "schema" and ast.unparse(option.value) != "None" for option in call.keywords
    )
    match call.func:
        case ast.Attribute(ast.Name(name), operation) if name == receiver and not elsewhere:
            return operation
    return None


def _bare(arguments: list[ast.expr]) -> Iterator[tuple[str, str, str]]:
    """Table, name and type of a new column, if it is NOT NULL and has no default."""
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
            type_ = ast.unparse(rest[0]) if rest else options.get("type_")
            filled = "server_default" in options or any(
                isinstance(part, ast.Attribute) and part.attr in _VALUES
                for given in rest
                for part in ast.walk(given)
            )
            if type_ and options.get("nullable") == "False" and not filled:
                yield name, column, type_
