"""New columns that existing rows have no value for: how they are refused, on every engine."""

from typing import Final

from sqlalchemy import Connection, func, select, table

from orm.exceptions import MigrationError

__all__ = ["BARE", "refuse_without_values"]

BARE: Final = "it is NOT NULL and has no default"


def refuse_without_values(
    connection: Connection,
    name: str,
    column: str,
    reason: str,
    *,
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
    # Of the two reasons, the other one is a default that is no constant.
    without, then = (
        ("", "nullable=False")
        if "NOT NULL" in reason
        else (" and without this default", "server_default=…")
    )
    name = now or name
    message = (
        f"column {column} cannot be added to {name}, which has {rows} row(s): {reason}. Add it "
        f"nullable{without}, fill it with op.execute('UPDATE {name} SET {column} = …'), then say "
        f"with op.batch_alter_table('{name}') as batch_op: batch_op.alter_column('{column}', "
        f"existing_type=…, {then}). Or give it a constant server_default, in the model, too"
    )
    raise MigrationError(message if file is None else f"{file}: {message}. Nothing was changed")
