"""New columns that existing rows have no value for: how they are refused, on every engine."""

from typing import Any, Final

from sqlalchemy import Column, Connection, Dialect, func, select, table

from orm.exceptions import MigrationError

__all__ = ["BARE", "refuse_column", "refuse_without_values"]

BARE: Final = "it is NOT NULL and has no default"


def refuse_column(
    connection: Connection,
    name: str,
    column: Column[Any],
    reason: str,
    *,
    schema: str | None = None,
) -> None:
    """Refuse a new column if the table has rows.

    Args:
        connection: to the database.
        name: of the table.
        column: the new column.
        reason: why it cannot be added to a table with rows.
        schema: of the table; None for the default one.

    Raises:
        MigrationError: as `refuse_without_values`.
    """
    refuse_without_values(
        connection,
        name,
        column.name,
        reason,
        finish=_alteration(connection.dialect, (schema, name), column),
        without="" if column.server_default is None else " and without this default",
        schema=schema,
    )


def _alteration(dialect: Dialect, where: tuple[str | None, str], column: Column[Any]) -> str:
    """The line that makes of a nullable column without a default what it is to be."""
    from alembic.operations.ops import AlterColumnOp

    from orm.backends.operations import in_a_batch

    schema, name = where
    alter = AlterColumnOp(
        name,
        column.name,
        schema=schema,
        existing_type=column.type,
        modify_nullable=None if column.nullable else False,
        modify_server_default=False if column.server_default is None else column.server_default,
    )
    return in_a_batch(alter, dialect)


def refuse_without_values(
    connection: Connection,
    name: str,
    column: str,
    reason: str,
    *,
    finish: str,
    without: str = "",
    now: str | None = None,
    schema: str | None = None,
    file: str | None = None,
) -> None:
    """Refuse a new column if the table has rows.

    Args:
        connection: to the database.
        name: of the table.
        column: of the new column.
        reason: why it cannot be added to a table with rows.
        finish: the code of a revision that makes the column what it is to be, once it has values.
        without: what the column has not before it has values, besides NOT NULL.
        now: how the table is called when the column is added, if it is renamed before.
        schema: of the table; None for the default one.
        file: the revision's, if it was only read, and nothing of it has run yet.

    Raises:
        MigrationError: the table has rows; says what to do instead.
    """
    count = select(func.count()).select_from(table(name, schema=schema))
    # A script does not have it: where there are rows, the statement that follows fails there.
    rows = connection.execute(count.execution_options(probe=True)).scalar_one()
    if not rows:
        return
    name = now or name
    quote = connection.dialect.identifier_preparer.quote
    qualified = ".".join(quote(part) for part in (schema, name) if part)
    update = f"UPDATE {qualified} SET {quote(column)} = …"
    message = (
        f"column {column} cannot be added to {name}, which has {rows} row(s): {reason}. Add it "
        f"nullable{without}, fill it with op.execute({update!r}), then say {finish}. Or give it a "
        "constant server_default, in the model, too"
    )
    raise MigrationError(message if file is None else f"{file}: {message}. Nothing was changed")
