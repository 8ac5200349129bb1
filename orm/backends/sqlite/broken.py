"""Views and triggers of SQLite that no longer work, found without running them."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orm.backends.sqlite.schema import quoted

__all__ = ["broken"]

_VIEWS = "SELECT name FROM sqlite_master WHERE type = 'view'"
_TABLES_WITH_TRIGGERS = """\
SELECT DISTINCT owner.name FROM sqlite_master AS owner
JOIN sqlite_master AS item ON lower(item.tbl_name) = lower(owner.name) AND item.type = 'trigger'
WHERE owner.type = 'table'"""


def broken(connection: Connection) -> set[str]:
    """Views, and triggers of tables, that name something that is not there."""
    statements = [
        (f"view {name}", f"SELECT * FROM {quoted(name)}")
        for (name,) in connection.exec_driver_sql(_VIEWS).all()
    ]
    for (table,) in connection.exec_driver_sql(_TABLES_WITH_TRIGGERS).all():
        columns = connection.exec_driver_sql(
            "SELECT name FROM pragma_table_info(?)", (table,)
        ).scalars()
        same = ", ".join(f"{quoted(column)} = {quoted(column)}" for column in columns)
        statements += [
            (f"a trigger on {table}", statement)
            for statement in (
                f"INSERT INTO {quoted(table)} DEFAULT VALUES",
                f"UPDATE {quoted(table)} SET {same}",
                f"DELETE FROM {quoted(table)}",
            )
        ]
    # Python keeps compiled statements by their text, and an EXPLAIN does not notice that it was
    # compiled for another schema.
    probe = text("PRAGMA schema_version").execution_options(probe=True)  # no part of a script
    schema = connection.execute(probe).scalar_one()
    found: set[str] = set()
    for what, statement in statements:
        try:
            # Compiled, triggers and all, but not run (SQLite "EXPLAIN").
            connection.exec_driver_sql(f"EXPLAIN {statement} -- {schema}").all()
        except DBAPIError as error:
            found.add(f"{what} ({error.orig})")
    return found
