"""What PostgreSQL knows of an error: the row, who held the lock, an index that stays, a way out."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Row
from sqlalchemy.exc import DBAPIError

from orm.backends.in_the_way import in_the_way
from orm.backends.literals import literal
from orm.backends.postgresql.blocking import blockers
from orm.backends.postgresql.driver import sqlstate
from orm.backends.postgresql.invalid import INVALID, way_out
from orm.backends.postgresql.tokens import LEXER
from orm.backends.tokens import Cursor

__all__ = ["explain", "is_of_a_view"]

_LOCK_NOT_AVAILABLE: Final = "55P03"
_NOT_NULL: Final = "23502"
_IN_USE: Final = "55006"
_DEPENDED_ON: Final = "2BP01"
_BREAKS: Final = "23"  # the class of errors of a row that breaks a constraint
_NOT_SUPPORTED: Final = "0A000"
_NO_VALUE: Final = "22"  # and that of a value that the new type does not have
_SHOWN: Final = 5
_LONGEST: Final = 200
"""Characters of a statement that are shown."""


def explain(connection: Connection, error: DBAPIError) -> list[str]:
    """The row, the holder of the lock, what stays, and what to do with rows that are in the way
    (`orm.backends.Migrations.explain`)."""
    said = []
    detail = getattr(error.orig, "detail", None)  # asyncpg's; psycopg's message has it
    if detail is not None:
        said.append(f"DETAIL: {detail}")
    if sqlstate(error) == _LOCK_NOT_AVAILABLE and (found := blockers(connection)):
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        said.append(f"It waited for {'; '.join(map(_sentence, found[:_SHOWN]))}{more}")
    if "INDEX" in (error.statement or "").upper() and (left := connection.execute(INVALID).all()):
        said.append(way_out([(index, table) for index, table in left]))
    return said + list(_for_rows(connection, sqlstate(error), error.statement or ""))


def _for_rows(connection: Connection, code: str, statement: str) -> Iterator[str]:
    """Which rows do not fit into what a statement makes of their table, and what to do."""
    said = " ".join(statement.upper().split())
    if not said.startswith(("ALTER ", "CREATE ", "DROP ")):
        return
    if code == _NOT_NULL and " ADD COLUMN " in said:
        yield _way_to_add(statement, connection.dialect)
    elif code == _IN_USE:
        yield (
            "If rows of it were changed before that, a deferred constraint is still to be checked: "
            "say op.execute('SET CONSTRAINTS ALL IMMEDIATE') after that change"
        )
    elif code == _DEPENDED_ON or is_of_a_view(code, said):
        yield (
            "Drop what depends on it in the same revision, before this statement, and create it "
            "again after it as it shall be then"
        )
    elif code.startswith(_BREAKS) or (code.startswith(_NO_VALUE) and " TYPE " in said):
        major, *_ = connection.dialect.server_version_info or (0,)
        yield from in_the_way(
            connection,
            statement,
            LEXER,
            no_value=_no_value if int(major) >= 16 else None,
            when=" (before this revision)",
        )
        yield "Update or delete such rows in the same revision, before this statement"


def _no_value(column: str, type_: str) -> str:
    """The condition of a value that is none of a type (PostgreSQL 16, "pg_input_is_valid")."""
    return f"NOT pg_input_is_valid({column}::text, {literal(type_)})"


def _way_to_add(statement: str, dialect: Dialect) -> str:
    """How a column that is to be NOT NULL is added to a table with rows."""
    from alembic.operations.ops import AlterColumnOp

    from orm.backends.operations import in_a_batch

    added = Cursor(statement, LEXER(statement))
    added.go_past("TABLE")
    *schema, name = added.parts()
    added.skip("ADD", "COLUMN")
    [column] = added.parts()
    quote = dialect.identifier_preparer.quote
    table = ".".join(map(quote, [*schema, name]))
    alter = AlterColumnOp(name, column, schema=next(iter(schema), None), modify_nullable=False)
    return (
        "Add the column nullable, fill it with "
        f"op.execute({f'UPDATE {table} SET {quote(column)} = …'!r}), then say "
        f"{in_a_batch(alter, dialect)}. Or give it a constant server_default"
    )


def is_of_a_view(code: str, statement: str) -> bool:
    """Whether a column cannot get another type since a view or a rule uses it."""
    return code == _NOT_SUPPORTED and " TYPE " in statement.upper()


def _sentence(row: Row[Any]) -> str:
    return "".join(_parts(row))


def _parts(row: Row[Any]) -> Iterator[str]:
    if not row.pid:  # PostgreSQL "pg_blocking_pids"
        yield "a prepared transaction (see pg_prepared_xacts)"
        return
    yield f"process {row.pid}"
    if row.usename:
        yield f" of {row.usename}"
    if row.application_name:
        yield f" ({row.application_name})"
    if row.age is not None:
        yield f", in a transaction for {row.age}"
    if row.state is not None:  # an account that may not see it
        yield f", {row.state}: {' '.join(row.query.split())[:_LONGEST]}"
