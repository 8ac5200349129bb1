"""What the SQL statements of a revision do (``op.execute``), as far as it can be seen in them."""

from collections.abc import Iterator

from alembic.operations.ops import ExecuteSQLOp
from sqlalchemy import Delete, TextClause, Update
from sqlalchemy.exc import CompileError

from orm.backends.tokens import Lexer
from orm.migrations.compare.effects.effect import Effect
from orm.migrations.compare.effects.fitting import fits
from orm.migrations.compare.effects.plain_sql import in_sql
from orm.migrations.compare.effects.said import (
    Deletes,
    Moves,
    Rewrites,
    Said,
    Unnamed,
    Updates,
)
from orm.migrations.compare.effects.tables import Column, Tables

__all__ = ["effects_on_rows", "read"]


def read(operation: ExecuteSQLOp, lexer: Lexer) -> Iterator[Said]:
    """What a statement amounts to: operations, or what it does to rows (`effects_on_rows`)."""
    statement = operation.sqltext
    match statement:
        case Delete():
            yield Deletes(_name(statement))
        case Update():
            yield Updates(_name(statement), None)
        case TextClause():  # without what its colons would become
            yield from in_sql(statement.text, lexer)
        case _:
            try:
                text = str(statement)
            except CompileError:  # only its own engine can write it
                yield Unnamed("may drop something: what it executes cannot be read")
            else:
                yield from in_sql(text, lexer)


def _name(statement: Delete | Update) -> str:
    return str(getattr(statement.table, "fullname", ""))


def effects_on_rows(said: Deletes | Updates | Rewrites | Moves, tables: Tables) -> Iterator[Effect]:
    """What a statement does to rows that were there before the revisions.

    Args:
        said: what it does.
        tables: those that it meets.
    """
    if (table := tables.table(said.table)) is None:
        return
    match said:
        case Deletes():
            yield Effect("delete", table, None, f"deletes rows of {table}")
        case Updates():
            yield from _updated(said, table, tables)
        case Moves(schema=schema):
            tables.rename(said.table, f"{schema}.{said.table.rpartition('.')[2]}")
            words = f"moves {table} to {schema}: a program that still asks for {table} fails"
            yield Effect("rename", table, None, words)
        case Rewrites():
            if (was := tables.column(said.table, said.column)) is not None:
                yield _rewritten(said, *was)


def _updated(said: Updates, table: str, tables: Tables) -> Iterator[Effect]:
    """What an UPDATE does to values that were there before the revisions."""
    names = said.columns
    if names is None:
        yield Effect("update", table, None, f"sets values in rows of {table}")
    elif columns := sorted(old for now, old, _ in tables.columns(said.table) if now in names):
        yield Effect("update", table, None, f"sets {', '.join(columns)} in rows of {table}")


def _rewritten(said: Rewrites, table: str, column: str, before: Column) -> Effect:
    """What an ALTER … TYPE does; the statement, or one before it, may see to the values."""
    what = f"changes {table}.{column} from {before.type} to {said.type or 'another type'} by SQL"
    locks = "the table may be locked while it is rewritten"
    if fits(before.type, said.type):
        return Effect("rewrite", table, column, f"{what}: {locks}")
    words = f"{what}: a value that does not fit is changed or refused, and {locks}"
    return Effect("convert", table, column, words)
